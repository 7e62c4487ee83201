"""The pages, one file each; longer ones keep their parts in files beside them."""

from mynah.web.house import House
from mynah.web.pages.ads import register_ads
from mynah.web.pages.ask import register_ask
from mynah.web.pages.plan import register_plan
from mynah.web.pages.posts import register_posts
from mynah.web.pages.record import register_record
from mynah.web.pages.search import register_search
from mynah.web.pages.train import register_train
from mynah.web.pages.trouble import register_trouble

__all__ = ["register_pages"]


def register_pages(house: House) -> None:
    """Put every page of ``house`` at its address."""
    for register in (register_ask, register_search, register_posts, register_train, register_plan,
                     register_ads, register_record):  # fmt: skip
        register(house)
    register_trouble(house)
