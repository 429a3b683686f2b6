"""The demo, and the throwaway SSH server that it runs on."""
