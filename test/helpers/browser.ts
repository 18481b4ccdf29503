// Pages in a real browser, where there is one.
import fs from 'node:fs';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { onTestFinished } from 'vitest';
import type { CliProcess } from './cli.ts';
import { TOKEN } from './network-run.ts';

const CHROMIUM = '/usr/bin/chromium';
const ARGUMENTS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'];

export const HAS_BROWSER = fs.existsSync(CHROMIUM);

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}

/** A page, and everything that it complained about. */
export async function openPage(
  browser: Browser | BrowserContext,
  url: string,
  size = { width: 1280, height: 900 },
): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  await page.setViewportSize(size);
  onTestFinished(() => page.close());
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(url);
  return { page, complaints };
}

/** The link by which tabs join a run, with the token that its user has. */
export async function linkOf({ command }: { readonly command: CliProcess }): Promise<string> {
  const [, link = ''] = await command.untilStderr(/a browser becomes a worker by opening (\S+)/);
  return link.replace('#token=TOKEN', `#token=${TOKEN}`);
}
