"""Runs the scripts of a GitHub job's steps as a runner does, without the actions, and says how each ended.

Of the conditions it knows those that docs/ci.md uses: none (success so far), and "not cancelled".
"""

import os
import subprocess
import sys

import ruamel.yaml

folder = sys.argv[1]
with open(os.path.join(folder, "job.yml"), encoding="utf-8") as file:
    workflow = ruamel.yaml.YAML(typ="safe").load(file)
(job,) = workflow["jobs"].values()
environment = {**os.environ, "PATH": folder + os.pathsep + os.environ["PATH"]}
failed = None
for step in job["steps"]:
    if "run" not in step:
        continue
    condition = step.get("if", "success()")
    if "cancelled()" not in condition and failed:
        continue
    # The shell of a step without `shell`.
    ended = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, check=False)
    print(f"{step['name']}: {ended.returncode}")
    if ended.returncode and not step.get("continue-on-error"):
        failed = failed or step["name"]
print(f"job: failed by {failed}" if failed else "job: succeeded")
