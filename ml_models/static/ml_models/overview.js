// Fetches the page again and shows its new content. Without scripts, reloading does the same.
document.addEventListener("DOMContentLoaded", () => {
  const shown = () => document.getElementById("overview");
  const again = async () => {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("overview");
      if (answer.ok && fresh && !shown().contains(document.activeElement)) shown().replaceWith(fresh);
    } catch {
      // the service does not answer just now: what is shown stays, and the next look tries again
    }
  };
  setInterval(again, 1000 * shown().dataset.everyS);
});
