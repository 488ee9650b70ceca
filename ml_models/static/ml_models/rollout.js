// Keeps the page of an open rollout up to date. Without it the page is reloaded by hand.
"use strict";

const PERIOD_MS = 1000;

function fill(list, items) {
  const rows = items.length ? items : [{ text: list.dataset.none }];
  const shown = [...list.children].map((row) => row.textContent);
  // who stands on a link of it with the keyboard stays there
  if (shown.join("\n") === rows.map(({ text }) => text).join("\n")) return;
  list.replaceChildren(
    ...rows.map(({ text, url }) => {
      const row = document.createElement("li");
      const holder = url ? row.appendChild(document.createElement("a")) : row;
      if (url) holder.href = url;
      holder.textContent = text;
      return row;
    }),
  );
}

function show(card, facts) {
  card.querySelector("progress").value = facts.percent;
  for (const place of card.querySelectorAll("[data-word]")) place.textContent = facts.words[place.dataset.word];
  for (const list of document.querySelectorAll("[data-list]")) fill(list, facts[list.dataset.list]);
}

async function ask(card) {
  const lost = card.querySelector(".fv-lost");
  const asked = performance.now();
  try {
    const answer = await fetch(card.dataset.url, { headers: { Accept: "application/json" } });
    if (answer.redirected || answer.status === 403) return location.reload(); // logged out
    if (!answer.ok) throw new Error(answer.statusText);
    const facts = await answer.json();
    show(card, facts);
    lost.hidden = true;
    // other buttons belong to another state
    if (facts.state !== card.dataset.state) return location.reload();
  } catch {
    lost.hidden = false;
  }
  // counting millions of rows takes its time: ask the less often
  setTimeout(ask, Math.max(PERIOD_MS, 10 * (performance.now() - asked)), card);
}

document.addEventListener("DOMContentLoaded", () => {
  const card = document.querySelector("#rollout[data-url]");
  if (card) setTimeout(ask, PERIOD_MS, card);
});
