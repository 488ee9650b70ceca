"""What `make check` refuses, on a copy of the tree with faults in it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.check import CHECKS
from devstack.state import ROOT

# the contract that must break → modules that break it, each with its only line
STRAYS = {
    "Dependencies point one way": {
        "ml_models.stray": "",
        "ml_models.services.above": "import ml_models.tasks",
    },
    "An evaluation goes from lists to a report": {
        "ml_models.evaluation.stray": "",
        "ml_models.evaluation.lists.above": "import ml_models.evaluation.study",
    },
    "The engine and the evaluation run where Django is not installed": {
        "ml_models.engine.django": "import django.db",
        "ml_models.evaluation.rates.django": "from rest_framework import views",
    },
    "Conversion and evaluation stay out of the serving path": {
        "ml_models.versions.measuring": "import ml_models.evaluation.rates",
        "ml_models.artifacts.converting": "import ml_models.conversion.errors",
    },
    "Training frameworks are for conversion and training only": {
        "ml_models.management.training": "import torch",
    },
    "The app does not know its host, nor the service its development stack": {
        "ml_models.admin.host": "import backend_easy.panel",
        "backend_easy.tooling": "import devstack.state",
    },
    "The client knows nothing of the service": {
        "ml_models_client.knowing": "import ml_models.conf",
    },
    "No import circle in any room": {
        "ml_models.crypto_one": "import ml_models.crypto_two",
        "ml_models.crypto_two": "import ml_models.crypto_one",
    },
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all that the checks read."""
    for name in ("backend_easy", "config", "devstack", "ml_models", "ml_models_client", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [ROOT / "manage.py", ROOT / "pyproject.toml", *ROOT.glob("requirements*")]:
        shutil.copy(file, tmp_path)
    return tmp_path


def refusal(check: str, tree: Path) -> str:
    """What a check of the tree says, which must refuse it."""
    command = [sys.executable, *CHECKS[check]]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    return output


def test_modules_out_of_place_break_their_contracts(tree: Path) -> None:
    for modules in STRAYS.values():
        for module, line in modules.items():
            (tree / f"{module.replace('.', '/')}.py").write_text(f"{line}\n")
    _, broken = refusal("import contracts", tree).split("Broken contracts\n")
    # a heading is a line with a rule under it
    headings = re.split(r"^(.+)\n-+\n", broken, flags=re.MULTILINE)[1:]
    sections = dict(zip(headings[::2], headings[1::2], strict=True))
    assert sections.keys() == STRAYS.keys()
    for contract, modules in STRAYS.items():
        for module in modules:
            assert module.removeprefix("ml_models") in sections[contract]


def test_a_new_family_of_networks_has_its_place_already(tree: Path) -> None:
    family = "from .wrapper import FaceModel\n\n\nclass GhostFaceModel(FaceModel):\n    family = 'ghostface'\n"
    (tree / "ml_models" / "ghostface_model.py").write_text(family)
    command = [sys.executable, *CHECKS["import contracts"]]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("check", "file", "used", "imported"),
    [
        ("wheel dependencies", "pyproject.toml", '    "numpy>=2",\n', "numpy"),
        ("service dependencies", "requirements.in", "dj-database-url\n", "dj_database_url"),
        ("development dependencies", "requirements-dev.in", "\ntflite\n", "tflite"),
    ],
)
def test_unused_and_undeclared_dependencies_fail(check: str, file: str, used: str, imported: str, tree: Path) -> None:
    declared = (tree / file).read_text()
    assert used in declared
    # certifi is installed, since others need it, and imported nowhere
    (tree / file).write_text(declared.replace(used, used.replace(used.strip(' ",\n'), "certifi"), 1))
    output = refusal(check, tree)
    assert f"DEP003 '{imported}' imported" in output
    assert "DEP002 'certifi' defined as a dependency but not used" in output


# what a migration does on a table that may have ten million rows → what the check calls it
UNSAFE = {
    "migrations.RemoveField('reference', 'overridden')": "DROPPING columns",
    "migrations.RenameField('reference', 'quality', 'measured')": "RENAMING columns",
    "migrations.AlterField('subject', 'subject_id', models.TextField(unique=True))": "ALTERING columns",
    "migrations.AddField('subject', 'name', models.CharField(max_length=9, default=''))": "NOT NULL constraint",
    "migrations.AlterField('subject', 'audit_key', models.BinaryField())": "SET NOT NULL reads every row",
    "migrations.AddField('subject', 'age', models.PositiveIntegerField(null=True))": "a new column's check reads",
    "migrations.AddField('subject', 'key', models.UUIDField(db_default=RandomUUID()))": "rewrites the table",
    "migrations.AddField('subject', 'nick', models.IntegerField(null=True, unique=True))": "unique index is built",
    "migrations.AddField('subject', 'twin', models.ForeignKey('Subject', models.CASCADE, null=True))": "CREATE INDEX",
    "migrations.AddIndex('embedding', models.Index(fields=['space'], name='s'))": "CREATE INDEX locks",
    "migrations.RemoveIndex('reference', 'reference_captured_at')": "DROP INDEX locks",
    "migrations.AddConstraint('reference', models.CheckConstraint(condition=~models.Q(chip=b''), name='c'))": "at once",
}
SAFE = (
    "migrations.AddField('subject', 'name', models.CharField(max_length=9, db_default=''))",
    "AddConstraintNotValid('reference', models.CheckConstraint(condition=~models.Q(chip=b''), name='c'))",
    "migrations.AddField('subject', 'twin', models.ForeignKey('Subject', models.CASCADE, null=True, db_index=False))",
    "migrations.CreateModel('Fresh', [('id', models.UUIDField(primary_key=True)), "
    "('age', models.PositiveIntegerField()), ('subject', models.ForeignKey('Subject', models.CASCADE))])",
)
_MIGRATION = """
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ml_models", "{after}")]
    operations = [{operation}]
"""


def test_migrations_that_lock_a_table_or_break_what_still_serves_fail(tree: Path) -> None:
    folder = tree / "ml_models" / "migrations"
    after = max(path.stem for path in folder.glob("0*.py"))
    tried = {f"0{number}_tried": operation for number, operation in enumerate([*UNSAFE, *SAFE], 100)}
    for name, operation in tried.items():  # side by side: none builds on another one
        (folder / f"{name}.py").write_text(_MIGRATION.format(after=after, operation=operation))
    output = refusal("safe migrations", tree)
    verdicts = re.findall(r"\(ml_models, (\w+)\)\.\.\. (\w+)((?:\n\t.*)*)", output)
    found = {tried[name]: (verdict, why) for name, verdict, why in verdicts if name in tried}
    assert found.keys() == {*UNSAFE, *SAFE}
    assert [what for what, why in UNSAFE.items() if found[what][0] != "ERR" or why not in found[what][1]] == [], output
    assert [what for what in SAFE if found[what][0] != "OK"] == [], output
