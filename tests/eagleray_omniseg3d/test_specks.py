"""Selections as they are shown: without specks, with things that are small themselves."""

from __future__ import annotations

import numpy as np

from eagleray_omniseg3d.view.picture import without_specks


def test_specks_and_pinholes_go_and_the_thing_stays():
    chosen = np.zeros((200, 200), bool)
    chosen[50:150, 50:150] = True
    clean = chosen.copy()
    chosen[80, 80] = chosen[100:102, 60] = False
    chosen[10, 10] = chosen[180, 20:24] = True
    assert (without_specks(chosen) == clean).all()


def test_a_small_thing_alone_is_no_speck():
    chosen = np.zeros((200, 200), bool)
    chosen[5:8, 5:8] = True
    assert (without_specks(chosen) == chosen).all()
    assert not without_specks(np.zeros((20, 20), bool)).any()


def test_a_part_of_some_size_and_a_window_in_a_thing_stay():
    chosen = np.zeros((200, 200), bool)
    chosen[50:150, 50:150] = True
    chosen[60:80, 60:80] = False
    chosen[170:180, 170:180] = True
    assert (without_specks(chosen) == chosen).all()
