// Forms with data-live are sent while they are edited, and the part of the page that data-live names is replaced by the
// answer's. What has data-whole changes the form itself: the whole page is asked for. Without this script their button
// does the same.
"use strict";

const WAIT_MS = 300;

for (const form of document.querySelectorAll("form[data-live]")) {
  let timer = 0;
  let asked = 0;

  const send = async () => {
    const mine = ++asked;
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked) return; // a later one is on its way
    const selector = form.dataset.live;
    const fresh = page.querySelector(selector);
    if (fresh) document.querySelector(selector).replaceChildren(...fresh.childNodes);
    else if (answer.redirected) window.location.assign(answer.url); // the session is over
  };

  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    if ("whole" in event.target.dataset) return form.submit();
    timer = setTimeout(() => send().catch(() => {}), WAIT_MS);
  });
}
