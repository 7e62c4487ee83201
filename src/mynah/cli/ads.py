"""`mynah ads`: campaigns from a terminal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Campaigns: make, list, pause.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="Folder of the network.")]


@app.command()
def add(
    workspace: Folder,
    title: Annotated[str, typer.Option(help="Headline, at most 80 characters.")],
    text: Annotated[str, typer.Option(help="What the ad says, at most 280 characters.")],
    link: Annotated[str, typer.Option(help="Where a click leads: http or https.")],
    keyword: Annotated[list[str], typer.Option(help="Word or phrase to appear with; 1 to 20.")],
    bid: Annotated[str, typer.Option(help="Most to pay for a click, such as 0.50.")],
    budget: Annotated[str, typer.Option(help="Most to pay in all, such as 100.")],
) -> None:
    """Create a campaign; it runs at once."""
    from mynah.ads import AdStore, CampaignDraft, format_money, parse_money
    from mynah.cli.opened import open_workspace

    draft = CampaignDraft(
        title=title,
        text=text,
        link=link,
        keywords=tuple(keyword),
        bid_micros=parse_money(bid, name="bid"),
        budget_micros=parse_money(budget, name="budget"),
    )
    store = AdStore(open_workspace(workspace).state_db)
    campaign = store.add_campaign(draft)
    store.close()
    typer.echo(
        f"campaign {campaign.id} runs: up to {format_money(campaign.bid_micros)} a click, "
        f"{format_money(campaign.budget_micros)} in all"
    )


@app.command()
def show(
    workspace: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """List the campaigns with what they spent and reached."""
    from mynah.ads import AdStore, format_money
    from mynah.cli.opened import open_workspace

    store = AdStore(open_workspace(workspace).state_db)
    for campaign in store.campaigns():
        report = store.report(campaign.id)
        if as_json:
            row = {"campaign": asdict(campaign), "report": asdict(report)}
            typer.echo(json.dumps(row, default=str, ensure_ascii=False))
            continue
        state = "paused" if campaign.is_paused else "runs"
        typer.echo(
            f"{campaign.id:>4} {state:<7} {campaign.title}: "
            f"{report.num_impressions:,} impressions, {report.num_clicks:,} clicks, "
            f"{format_money(campaign.remaining_micros)} of "
            f"{format_money(campaign.budget_micros)} left"
        )
    store.close()


@app.command()
def pause(
    workspace: Folder,
    campaign: Annotated[int, typer.Argument(help="Number of the campaign.")],
    resume: Annotated[bool, typer.Option("--resume", help="Run it again instead.")] = False,
) -> None:
    """Pause a campaign, or run it again."""
    from mynah.ads import AdStore
    from mynah.cli.opened import open_workspace

    store = AdStore(open_workspace(workspace).state_db)
    changed = store.set_paused(campaign, not resume)
    store.close()
    typer.echo(f"campaign {changed.id} {'is paused' if changed.is_paused else 'runs'}")
