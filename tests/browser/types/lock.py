"""Makes package-lock.json anew, after package.json has changed: run this file.

npm would install all that JupyterLab stands on, 366 MB in 85 s, for types that we never look at. So
what the packages of package.json need themselves is taken out of the lock. A type that comes from
elsewhere is `any` then, which `skipLibCheck` allows.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent

#: What npm keeps of a package that would have it look for others, or is of no use.
NOT_KEPT = {"dependencies", "peerDependencies", "engines", "funding", "hasInstallScript"}


def main() -> None:
    lock = HERE / "package-lock.json"
    lock.unlink(missing_ok=True)
    words = ["npm", "install", "--package-lock-only", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(words, cwd=HERE, check=True)
    content = json.loads(lock.read_text())
    packages = content["packages"]
    kept = {"": packages[""]}
    for name in packages[""]["devDependencies"]:
        path = f"node_modules/{name}"
        kept[path] = {k: v for k, v in packages[path].items() if k not in NOT_KEPT}
    lock.write_text(json.dumps({**content, "packages": kept}, indent=2) + "\n")


if __name__ == "__main__":
    main()
