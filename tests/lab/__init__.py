"""The fault lab: a real sshd, and a link in front of it that is slow, narrow, silent or cut."""
