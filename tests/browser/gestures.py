"""What a visitor of the viewer does with mouse and panel."""

import time


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the viewer did not react"
        time.sleep(0.05)


def drag(page, start, stop):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*stop, steps=8)
    page.mouse.up()


def choose(page, label, option):
    """Choose from a dropdown of the panel."""
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def input_of(page, label):
    """Return the text field or box that a label of the panel stands before."""
    return page.locator(f"xpath=//*[text()='{label}']/following::input[1]")


def press(page, text):
    page.get_by_text(text, exact=True).first.click()
