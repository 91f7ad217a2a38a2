"""What .ci/deployment asks of its files beyond what others' programs know."""

import json
import re
import sys
import tomllib
from pathlib import Path

from ruamel.yaml import YAML


def fail(text):
    sys.exit(f"mismatch: {text}")


def expect(holds, text):
    if not holds:
        fail(text)


def load(path):
    return YAML(typ="safe").load(Path(path).read_text())


def compose(by_example, changed):
    """What Compose makes of the settings: those of .env.example, and with some lines added at its end."""
    services = json.loads(Path(by_example).read_text())["services"]
    expect(set(services) == {"secret-gate", "connect-api", "connect-sync"}, f"services {sorted(services)}")
    for name, service in services.items():
        expect(service.get("cap_drop") == ["ALL"], f"{name} keeps capabilities")
        expect("no-new-privileges:true" in service.get("security_opt", []), f"{name} may gain privileges")
        expect(not service.get("privileged"), f"{name} is privileged")
        expect(name == "secret-gate" or "ports" not in service, f"{name} is published")
        expect(re.search(r":\d", service["image"]) or name == "secret-gate", f"{name}: no version of the image")
    gate = services["secret-gate"]
    expect(gate.get("read_only") is True, "the root of the file system can be written")
    expect([port["host_ip"] for port in gate["ports"]] == ["127.0.0.1"], f"published at {gate['ports']}")
    environment = gate["environment"]
    expect(environment["API_KEYS_FILE"].endswith("/keys"), "starts without keys")
    mounts = {volume["target"]: volume["source"] for volume in gate["volumes"]}
    image = Path("Dockerfile").read_text()
    for variable in ("API_KEYS_FILE", "AUDIT_LOG"):
        folder = Path(environment[variable]).parent
        expect(str(folder) in mounts, f"{folder} is no volume, so what is written there is lost")
        expect(f"/out/state/{folder.name}" in image, f"the image has no {folder} that its user may write")

    services = json.loads(Path(changed).read_text())["services"]
    expect(set(services) == {"secret-gate"}, f"without the profile: {sorted(services)}")
    environment, ports = services["secret-gate"]["environment"], services["secret-gate"]["ports"]
    expect(environment["API_KEYS_FILE"] == "", "keys can't be left out")
    expect(environment["TELEGRAM_CHAT_ID"] == "-42", "the last of two lines does not count")
    expect((ports[0]["published"], ports[0]["target"], environment["PORT"]) == ("9000", 8080, "8080"), f"{ports}")
    print("docker-compose.yml with .env.example: docker compose agrees")


def steps(paths):
    for path in paths:
        for job, content in load(path)["jobs"].items():
            for number, step in enumerate(content["steps"]):
                yield f"{Path(path).stem}-{job}-{number}", step


def workflows(*paths):
    """Actions are pinned by commit, and what a workflow runs in .ci is there."""
    for name, step in steps(paths):
        uses = step.get("uses")
        expect(not uses or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", uses), f"{name}: {uses} is not pinned by commit")
        for program in re.findall(r"\./(\.ci/[\w-]+)", step.get("run", "")):
            mode = Path(program).stat().st_mode if Path(program).exists() else 0
            expect(mode & 0o100, f"{name}: there is no program {program}")


def scripts(folder, *paths):
    """Writes the scripts of the steps into files, for shellcheck. An expression in one would be a way to inject."""
    Path(folder).mkdir()
    for name, step in steps(paths):
        if "run" in step:
            expect("${{" not in step["run"], f"{name}: an expression in a script")
            Path(folder, f"{name}.sh").write_text("#!/bin/bash\n" + step["run"])


def licences(deny, metadata):
    """Each crate can be had under licences that deny.toml allows."""
    rules = tomllib.loads(Path(deny).read_text())["licenses"]
    exceptions = {rule["crate"]: rule["allow"] for rule in rules["exceptions"]}

    def allowed(licence, also):
        alternatives = re.split(r"\s+OR\s+|/", licence.replace("(", "").replace(")", ""))
        return any(
            all(part.strip() in rules["allow"] + also for part in re.split(r"\s+AND\s+", alternative))
            for alternative in alternatives
        )

    packages = json.loads(Path(metadata).read_text())["packages"]
    for package in packages:
        licence = package["license"] or "none"
        # in all of these, parentheses stand around what AND joins with the rest
        parts = re.split(r"\s+AND\s+(?![^(]*\))", licence) if "(" in licence else [licence]
        also = exceptions.get(package["name"], [])
        expect(all(allowed(part, also) for part in parts), f"{package['name']} comes under {licence}")
    print(f"licences of {len(packages)} crates: as .cargo/deny.toml allows")


if __name__ == "__main__":
    {"compose": compose, "workflows": workflows, "scripts": scripts, "licences": licences}[sys.argv[1]](*sys.argv[2:])
