// Sends login and password, and goes on to the page that was asked for. Addresses are relative: a proxy may publish the hub under a path.
"use strict";
const form = document.getElementById("sign-in");
const problem = document.getElementById("problem");

const provider = document.getElementById("provider");
if (provider) {
  const next = new URLSearchParams(location.search).get("next");
  if (next) provider.search = "?" + new URLSearchParams({ next: next });
}

form.addEventListener("submit", async function (event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  problem.textContent = "";
  try {
    const body = JSON.stringify({ login: form.elements.login.value, password: form.elements.password.value });
    const answer = await fetch("sign-in", { method: "POST", headers: { "Content-Type": "application/json" }, body: body });
    if (answer.ok) {
      const next = new URLSearchParams(location.search).get("next") || "/";
      location.replace(new URL("." + (next.startsWith("/") ? next : "/"), location.href)); // "./…" cannot leave this site
      return;
    }
    const found = await answer.json().catch(() => ({}));
    const said = found.error ? found.error.message : "the hub answered " + answer.status;
    problem.textContent = said[0].toUpperCase() + said.slice(1) + ".";
    form.elements.password.select();
  } catch (_unreachable) {
    problem.textContent = "The hub does not answer. Try again.";
  }
  button.disabled = false;
});
