"""docs/reports/pictures/scaling.svg: a day of one service, its traffic, replicas and queue; same bytes always."""

from __future__ import annotations

from pathlib import Path

from benchmarks.autoscaling.service_model import Day, Service


def draw(service: Service, day: Day, file: Path) -> None:
    """Write the picture: offered traffic, replicas asked for and ready, calls that wait."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "tonnage", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    hours, replicas = [moment.at_s / 3600 for moment in day.moments], service.plan.replicas
    figure, (traffic, fleet, queue) = plt.subplots(3, 1, figsize=(9, 5.6), sharex=True, height_ratios=(2, 2, 1))
    traffic.plot(hours, [moment.offered for moment in day.moments], color="C0", linewidth=1)
    traffic.set(ylabel="requests per second", ylim=(0, None), title=f"{service.name} on {service.plan.gpu}, one day")
    fleet.step(hours, [moment.replicas for moment in day.moments], where="post", color="C1", label="asked for")
    fleet.step(hours, [moment.ready for moment in day.moments], where="post", color="C2", label="ready")
    for name, count in (("floor", replicas.floor), ("expected", replicas.expected), ("ceiling", replicas.ceiling)):
        fleet.axhline(count, color="#bbbbbb", linewidth=0.7, linestyle="--")
        fleet.text(24, count, f" {name}", va="center", color="#888888")
    fleet.set(ylabel="replicas", ylim=(0, replicas.ceiling + 0.5))
    fleet.legend(frameon=False, loc="upper left")
    queue.plot(hours, [moment.waiting for moment in day.moments], color="C3", linewidth=0.7)
    queue.set(ylabel="calls waiting", xlabel="hour of the day", ylim=(0, None), xlim=(0, 24), xticks=range(0, 25, 2))
    figure.tight_layout()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # no trailing blanks: the file is kept in the repository
    file.write_text("\n".join(line.rstrip() for line in file.read_text("utf-8").splitlines()) + "\n", encoding="utf-8")
