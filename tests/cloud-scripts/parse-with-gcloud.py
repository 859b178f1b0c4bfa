"""Has the parser of an installed gcloud read every command of a transcript; nothing is run.

    python3 tests/cloud-scripts/parse-with-gcloud.py tests/cloud-scripts/transcript.txt
"""

import shlex
import subprocess
import sys
from pathlib import Path

sdk = subprocess.check_output(["gcloud", "info", "--format=value(installation.sdk_root)"], text=True).strip()
sys.path[:0] = [f"{sdk}/lib", f"{sdk}/lib/third_party"]
from googlecloudsdk import gcloud_main  # noqa: E402

parser = gcloud_main.CreateCLI([]).top_element._parser
count = failed = 0
for line in Path(sys.argv[1]).read_text().splitlines():
    if not line.startswith("gcloud "):
        continue
    words = [word for word in shlex.split(line)[1:] if not word.startswith("--flags-file=")]
    count += 1
    try:
        parser.parse_args(words)
    except BaseException as error:  # its parser ends the program
        failed += 1
        print(f"{line}\n  {type(error).__name__}: {error}")
print(f"{count} commands, {failed} not understood")
sys.exit(bool(failed or not count))
