// Figures come anew while the run is under way; a form that takes long says so.
"use strict";

const EVERY = 4000; // milliseconds

async function refresh() {
  const place = document.getElementById("live");
  if (document.hidden || !place.querySelector("[data-state=open]")) return;
  // Markup from this page's own server, which escapes every text in it.
  const answer = await fetch("/live").catch(() => null);
  if (answer && answer.ok) place.innerHTML = await answer.text();
}

if (document.getElementById("live")) setInterval(refresh, EVERY);

for (const form of document.querySelectorAll("form[data-wait]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.disabled = true;
    button.textContent = form.dataset.wait + " …";
  });
}
