// Tables that can be sorted by a click on the head of a column: numbers from the largest, names from the first.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const numeric = head.classList.contains("number");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const way = head.getAttribute("aria-sort") === first ? other : first;
      for (const each of head.parentNode.cells) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way);
      const sign = way === "ascending" ? 1 : -1;
      const value = (row) => numeric ? Number(row.cells[place].dataset.value) : row.cells[place].textContent.trim();
      const compare = (a, b) => numeric ? a - b : a.localeCompare(b);
      body.append(...[...body.rows].sort((a, b) => sign * compare(value(a), value(b))));
    });
  });
}
