// Tags, notes, archive, trash, named views, and any table as CSV; see dashboard/changes.py.
(function () {
  async function send(change) {
    const answer = await fetch("/change", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(change),
    });
    if (answer.ok) window.location.reload();
    else window.alert(await answer.text());
  }

  function words(question, before) {
    const text = window.prompt(question, before || "");
    return text === null ? [] : text.split(/[\s,]+/).filter((word) => word);
  }

  const ACTIONS = {
    tag: (runs) => ({ runs, add: words("Tags to add, separated by spaces:") }),
    untag: (runs, button) => ({
      runs,
      remove: button.dataset.tag ? [button.dataset.tag] : words("Tags to take away:"),
    }),
    archive: (runs) => ({ runs, archived: true }),
    unarchive: (runs) => ({ runs, archived: false }),
    note: (runs, button) => {
      const note = window.prompt("Note:", button.dataset.note || "");
      return note === null ? null : { runs, note };
    },
    delete: (runs) =>
      window.confirm("Move to the trash: " + runs.join(", ") + "?") ? { runs, delete: true } : null,
    view: () => {
      const name = window.prompt("Name of this view:");
      return name ? { view: name, address: window.location.pathname + window.location.search } : null;
    },
    forget: (runs, button) => ({ view: button.dataset.view, address: "" }),
  };

  document.addEventListener("click", function (event) {
    const button = event.target.closest && event.target.closest("[data-action]");
    if (!button) return;
    const runs = (button.dataset.runs || "").split(",").filter((name) => name);
    const change = ACTIONS[button.dataset.action](runs, button);
    const empty = change && [change.add, change.remove].some((tags) => tags && !tags.length);
    if (change && !empty) send(change);
  });

  function cell(node) {
    const text = node.innerText.trim().replace(/ [↑↓]$/, "");
    const plain = /^[=+@\t\r]/.test(text) && isNaN(Number(text)) ? "'" + text : text;
    return /[",\n]/.test(plain) ? '"' + plain.replaceAll('"', '""') + '"' : plain;
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest && event.target.closest("button.csv");
    if (!button) return;
    const rows = [...button.closest(".tabled").querySelectorAll("table tr")];
    const text = rows.map((row) => [...row.children].map(cell).join(",") + "\r\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = document.querySelector("h1").textContent.trim().replace(/\W+/g, "_") + ".csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
})();
