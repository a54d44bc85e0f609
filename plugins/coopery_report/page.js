"use strict";
// Filter and sort the table; without scripts all rows stand there in the order of the plan.
(function () {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const words = document.getElementById("words");
  const state = document.getElementById("state");
  const count = document.getElementById("count");
  const texts = rows.map((row) => row.textContent.toLowerCase());

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const good =
        (!state.value || row.dataset.state === state.value) &&
        wanted.every((word) => texts[index].includes(word));
      row.hidden = !good;
      shown += good;
    });
    count.textContent = shown + " of " + rows.length;
  }

  function sort(head, index) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) {
      other.removeAttribute("aria-sort");
    }
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.cells[index];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    const keyed = rows.map((row, place) => ({ row, place, value: value(row) }));
    const order = new Intl.Collator("en", { numeric: true }).compare;
    keyed.sort((a, b) => {
      const by = typeof a.value === "number" ? a.value - b.value : order(a.value, b.value);
      return (down ? -by : by) || a.place - b.place;
    });
    body.append(...keyed.map((item) => item.row));
  }

  Array.from(table.tHead.rows[0].cells).forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, index));
    head.replaceChildren(button);
  });
  const form = document.getElementById("filter");
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  // A link into the table must not lead to a row that is filtered away.
  window.addEventListener("hashchange", () => {
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.hidden) {
      words.value = "";
      state.value = "";
      filter();
      row.scrollIntoView();
    }
  });
  filter();
})();
