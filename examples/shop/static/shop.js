// Each button loads the page again. Stay where the page was scrolled to.
addEventListener("submit", () => sessionStorage.setItem("scrolled", scrollY));
const scrolled = sessionStorage.getItem("scrolled");
sessionStorage.removeItem("scrolled");
if (scrolled !== null) scrollTo(0, Number(scrolled));
