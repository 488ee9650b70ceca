// Fetches the page again and shows its new content. Without scripts, reloading does the same.
document.addEventListener("DOMContentLoaded", () => {
  const shown = () => document.getElementById("overview");
  const named = (element) => element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.localName;
  const alike = (part, focused) =>
    [...part.querySelectorAll("a, button, input, summary, [tabindex]")].filter((stop) => named(stop) === named(focused));
  const again = async () => {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("overview");
      const focused = shown().contains(document.activeElement) ? document.activeElement : null;
      if (!answer.ok || !fresh || focused?.value) return; // who types an id goes on
      const place = focused ? alike(shown(), focused).indexOf(focused) : -1;
      const opened = shown().querySelector("details")?.open ?? false;
      shown().replaceWith(fresh);
      fresh.querySelector("details")?.toggleAttribute("open", opened);
      if (focused) alike(fresh, focused)[place]?.focus({ preventScroll: true });
    } catch {
      // the service does not answer just now: what is shown stays, and the next look tries again
    }
  };
  setInterval(again, 1000 * shown().dataset.everyS);
});
