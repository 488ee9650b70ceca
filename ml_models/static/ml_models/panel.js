// The panel without a mouse, where the theme forgets it. A page may name this file twice: done again it changes nothing.
"use strict";

// not earlier: until its scripts have run the theme shows nothing, and what is not shown takes no focus
window.addEventListener("load", () => {
  // its openers of the menu and of the account's links are no buttons
  const openers = { sidebarDesktopOpen: "Menu", sidebarMobileOpen: "Menu", openUserLinks: "Account" };
  for (const [opened, name] of Object.entries(openers)) {
    for (const opener of document.querySelectorAll(`[x-on\\:click^="${opened} = !"]`)) {
      opener.tabIndex = 0;
      opener.setAttribute("role", "button");
      opener.setAttribute("aria-label", name);
      opener.onkeydown = (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        opener.click();
      };
    }
  }
  // who works by keys, or hears the page, begins at what the last deed came to: its notice, or the field that was wrong
  const notice = document.querySelector("#main > :not(:has(#content)) ul.mb-6, ul.messagelist");
  if (notice) notice.tabIndex = -1;
  else if (document.activeElement !== document.body) return;
  (notice ?? document.querySelector("[aria-invalid=true]") ?? document.querySelector("[autofocus]"))?.focus();
});
