"""The owner's tabs, which nobody else sees."""

from __future__ import annotations

import gradio as gr  # at the top, since it finds listeners that take a gr.Request by that name: import us late

from ui import data, monitor, review
from ui.api import Api, OwnerApi
from ui.events import LISTEN, Updates, is_owners
from ui.texts import Texts


def add_tabs(demo: gr.Blocks, api: Api, owner: OwnerApi, texts: Texts) -> gr.File:
    """Review, monitor and data, inside Gradio's Tabs; unseen until it is found that the visitor is the owner.

    The component that takes uploads comes back.
    """
    with gr.Tab(texts.review_tab, visible=False, render_children=True, elem_id="review-tab") as review_tab:
        reviewing = review.lay_out(texts)
    with gr.Tab(texts.monitor_tab, visible=False, render_children=True, elem_id="monitor-tab") as monitor_tab:
        monitoring = monitor.lay_out(texts)
    with gr.Tab(texts.data_tab, visible=False, render_children=True, elem_id="data-tab") as data_tab:
        keeping = data.lay_out(texts)
    review.wire(review_tab, reviewing, api, owner, texts)
    monitor.wire(monitor_tab, monitoring, owner, texts)
    data.wire(data_tab, keeping, api, owner, texts)
    tabs = [review_tab, monitor_tab, data_tab]

    def opened(request: gr.Request) -> Updates:
        return {tab: gr.update(visible=is_owners(request, owner)) for tab in tabs}

    demo.load(opened, None, tabs, **LISTEN)
    return keeping.corner.photos
