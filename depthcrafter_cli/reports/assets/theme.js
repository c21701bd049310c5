// Light or dark: as the system has it, until the button is pressed.
const root = document.documentElement;
const byName = (id) => document.getElementById(id);

function showTheme(theme) {
  root.dataset.theme = theme;
  byName('theme').textContent = theme === 'dark' ? 'Light' : 'Dark';
}

{
  const dark = matchMedia('(prefers-color-scheme: dark)');
  showTheme(dark.matches ? 'dark' : 'light');
  dark.addEventListener('change', () => showTheme(dark.matches ? 'dark' : 'light'));
  byName('theme').hidden = false;
  byName('theme').addEventListener('click', () => {
    showTheme(root.dataset.theme === 'dark' ? 'light' : 'dark');
  });
}
