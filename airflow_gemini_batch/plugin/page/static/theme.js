// Runs before the first paint: the page has the theme that its reader chose in Airflow. On its own, it follows the system.
const root = document.documentElement;
try {
  const airflow = window.parent === window ? null : window.parent.document.documentElement;
  const chosen = () => (airflow ? [...airflow.classList].find((name) => name === "dark" || name === "light") : localStorage.getItem("theme"));
  const paint = () => {
    root.classList.remove("dark", "light");
    const theme = chosen();
    if (theme === "dark" || theme === "light") root.classList.add(theme);
  };
  paint();
  if (airflow) new MutationObserver(paint).observe(airflow, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("storage", paint);
} catch {
  // Framed by another origin, or without storage: prefers-color-scheme decides.
}
