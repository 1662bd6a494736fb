"""What the sample shows: a model proposes, a reader accepts, the window stands for a picture."""

commands.wait_idle(120)
commands.run("layout.set", name="four")
commands.run("ai.run", model="hippocampus_mr")
commands.wait_idle(600)
for finding in list(workspace.findings.values()):
    commands.run("finding.accept", uid=finding.uid, by="Sample Reader")
commands.run("finding.show", uid=next(iter(workspace.findings)))
commands.wait_idle(60)
