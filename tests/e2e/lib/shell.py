"""A cluster for a person: run in a sandbox, starts a cluster, then a shell or a command in it.

    python3 -m e2e.lib.shell [COMMAND...]
"""
import os
import subprocess
import sys

from .cluster import Cluster


def main():
    cluster = Cluster(os.environ["E2E_PROGRAMS"], os.environ["E2E_DIRECTORY"]).start()
    command = sys.argv[1:]
    if not command:
        print(f"A cluster runs. kubectl, helm and KUBECONFIG are set; logs are in\n"
              f"{cluster.directory}. It ends with this shell.")
    try:
        return subprocess.run(command or ["bash"], env=cluster.environment(),
                              check=False).returncode
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
