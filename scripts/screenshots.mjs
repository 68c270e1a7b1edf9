// Makes the pictures of the console in docs/images/. Starts a gateway with generated records of one month, and opens
// its pages in Chromium: wide and narrow, light and dark.
//
//   npm run screenshots
//   node scripts/screenshots.mjs [NAME...]      some pages only, such as `call waterfall`; after a build
//
// The pages `call` and `waterfall` show a real call of the order line, typed into the softphone.
//
// Needs Debian's package `chromium`.
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { startShopApi } from '../dist/examples/shop-api/server.js'
import { seededRandom } from '../dist/src/carrier/random.js'
import { loadConfig } from '../dist/src/config/load-config.js'
import { maskNumber } from '../dist/src/sautikit/phone.js'
import { startGateway } from '../dist/src/gateway/gateway.js'
import { createLog } from '../dist/src/telemetry/log.js'
import { endedCall } from '../dist/test/support/record.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const images = join(root, 'docs', 'images')
const HOUR_MS = 3_600_000
const DAYS = 30
/**
 * Calls per hour in the busiest hour; and versions, oldest first. In the last week, the newest of two versions gets a
 * tenth of the calls.
 */
const AGENTS = {
  'order-status': { calls: 9, versions: ['3f2c8a7190d1e5b4', 'c81b02f97d4e6a35'] },
  support: { calls: 5, versions: ['90d1e5b43f2c8a71'] },
  receptionist: { calls: 2, versions: ['7a4410cefa913d20'] },
}
const SUMMARIES = ['Asked where order 4127 is.', 'Changed the delivery to Saturday.', 'A parcel that was paid twice.']

const random = seededRandom(1)
const upTo = (n) => Math.floor(random() * n)
const chosen = (shares) => {
  let at = random()
  return Object.entries(shares).find(([, share]) => (at -= share) < 0)?.[0] ?? 'contained'
}

/** @returns records of the last month's calls, with fewer calls at night and on Sundays */
function records(nowMs) {
  const made = []
  for (let hour = DAYS * 24; hour > 0; hour--) {
    const date = new Date(nowMs - hour * HOUR_MS)
    const nairobi = (date.getUTCHours() + 3) % 24
    const busy =
      (nairobi < 7 || nairobi > 20 ? 0.1 : 0.6 + 0.4 * Math.sin((nairobi - 7) / 2)) * (date.getUTCDay() === 0 ? 0.4 : 1)
    for (const [agent, { calls, versions }] of Object.entries(AGENTS))
      for (let call = 0; call < Math.round(calls * busy * (0.7 + 0.6 * random())); call++) {
        const isNext = hour < 7 * 24 && versions.length > 1 && random() < 0.1
        const outcome = chosen({ contained: isNext ? 0.84 : 0.74, escalated: 0.14, abandoned: 0.06, failed: 0.02 })
        const answer = () => (isNext ? 420 : 520) + upTo(500) + upTo(500) + (random() < 0.05 ? 1500 : 0)
        made.push(
          endedCall({
            callSid: `HD_${String(made.length).padStart(12, '0')}`,
            ...{ agent, agentVersion: versions[isNext ? 1 : 0], backend: 'openai', outcome },
            endReason: outcome === 'escalated' ? 'escalated' : 'caller-hung-up',
            startedAt: new Date(date.getTime() + upTo(HOUR_MS)).toISOString(),
            ...{
              from: maskNumber(`+2547${10_000_000 + upTo(80_000_000)}`),
              to: '+254720000101',
              number: '+254720000101',
            },
            durationMs: 40_000 + upTo(200_000),
            turns: [1, 2, 3, 4].map((turn) => {
              const answerMs = answer()
              return { callerStoppedMs: turn * 9000, firstSoundMs: answerMs, answerMs }
            }),
            cost: { currency: 'KES', amount: null, known: 4 + upTo(900) / 100, unknown: 'the carrier', models: [] },
            analysis: {
              ...{ model: 'm', language: 'en', summary: SUMMARIES[upTo(3)], fault: null, cost: null },
              fields: { resolved: { value: outcome === 'contained', quote: null } },
            },
          }),
        )
      }
  }
  return made
}

const dataDir = mkdtempSync(join(tmpdir(), 'mkondo-screenshots-'))
mkdirSync(join(dataDir, 'records'))
mkdirSync(images, { recursive: true })
const nowMs = Date.now()
const day = new Date(nowMs).toISOString().slice(0, 10)
const lines = records(nowMs).map((record) => `${JSON.stringify(record)}\n`)
writeFileSync(join(dataDir, 'records', `calls-${day}-0001.jsonl`), lines.join(''))
const agentsDir = join(dataDir, 'agents')
cpSync(join(root, 'agents'), agentsDir, { recursive: true })
appendFileSync(join(agentsDir, 'order-status.yaml'), '\nrecording: { enabled: true }\n')
const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
const gateway = await startGateway({
  config: {
    ...loadConfig(
      {
        DATA_DIR: dataDir,
        NODE_NAME: 'nairobi-1',
        CURRENCY: 'KES',
        OPS_TOKEN: 'of-the-pictures-alone',
        AGENTS_DIR: agentsDir,
        AGENTS_EDIT: 'true',
      },
      null,
    ),
    // Without a token, the pages need no login.
    opsToken: null,
    port: 0,
    opsPort: 0,
    host: '127.0.0.1',
  },
  env: { SHOP_API_URL: shop.url },
  log: createLog({ level: 'error' }),
})
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--headless', '--no-sandbox'] })
const origin = `http://127.0.0.1:${gateway.opsPort}`
/** Waits until all records are indexed. */
for (let nodes = []; !nodes.some(({ current }) => current);)
  ({ nodes } = await (await fetch(`${origin}/api/charts`)).json())

const CALL_MS = 60_000
let sid = null

/** Opens the page of a call of the order line. The first use places the call, with a typed question and its answer. */
async function callPage(page) {
  if (sid === null) {
    await page.goto(`${origin}/#/phone`)
    await page.getByRole('button', { name: 'Call without a microphone' }).click()
    const status = await page.getByText('On the line').innerText()
    const say = async (text) => {
      await page.getByLabel('Type instead').fill(text)
      await page.getByRole('button', { name: 'Say it' }).click()
    }
    const isSaid = (text) => page.getByText(text).first().waitFor({ timeout: CALL_MS })
    await isSaid('this is the order line')
    await page.waitForTimeout(6500)
    await say("where's my order")
    await isSaid(/4127 is out for delivery/)
    await page.waitForTimeout(9000)
    await page.getByRole('button', { name: 'Hang up' }).click()
    await page.getByText('The call has ended').waitFor()
    sid = /HD_\w+/.exec(status)[0]
  }
  await page.goto(`${origin}/#/calls/${sid}`)
  await page.getByRole('button', { name: 'Play' }).waitFor()
}

/**
 * Actions on a page before its picture is taken. An action may return a part of the page: then the picture shows only
 * this part.
 */
const PAGES = {
  call: async (page) => {
    await callPage(page)
    await page.getByText('Waits of the caller').click()
  },
  waterfall: async (page) => {
    await callPage(page)
    return page.locator('section.card').filter({ has: page.getByRole('heading', { name: 'Waterfall', exact: true }) })
  },
  find: async (page) => {
    await page.goto(`${origin}/#/find`)
    await page.getByLabel('Agent', { exact: true }).fill('support')
    await page.getByLabel('Spoken words').fill('paid twice')
    await page.getByRole('button', { name: 'Find', exact: true }).click()
    await page.getByText('50 and more found').waitFor()
  },
  charts: async (page) => {
    await page.goto(`${origin}/#/charts`)
    await page.getByLabel('Period').selectOption('week')
    await page.getByRole('heading', { name: 'receptionist' }).waitFor()
  },
  versions: async (page) => {
    await PAGES.charts(page)
    await page.getByRole('button', { name: 'Versions of order-status' }).click()
    await page.getByRole('heading', { name: AGENTS['order-status'].versions[1] }).waitFor()
  },
  editor: async (page) => {
    await page.goto(`${origin}/#/edit/order-status.yaml`)
    const text = page.getByLabel('Text of the file')
    await text.fill((await text.inputValue()).replace('greeting: Hello', 'greting: Karibu. Hello'))
    await page.getByRole('button', { name: 'Check' }).click()
    await page.getByText('1 fault', { exact: true }).waitFor()
    await page.getByRole('button', { name: /^\d+:1$/ }).click()
  },
}
const ONCE = ['versions', 'call', 'waterfall']
const names = process.argv.slice(2)
const unknown = names.filter((name) => PAGES[name] === undefined)
try {
  if (unknown.length > 0) throw new Error(`no page ${unknown.join(', ')}; there are: ${Object.keys(PAGES).join(', ')}`)
  for (const [name, prepare] of Object.entries(PAGES).filter(([name]) => names.length === 0 || names.includes(name)))
    for (const [width, height] of [
      [1280, 800],
      [390, 844],
    ])
      for (const colorScheme of ['light', 'dark']) {
        // These pages need only one picture.
        if (ONCE.includes(name) && (width < 1000 || colorScheme === 'dark')) continue
        const size = { viewport: { width, height }, colorScheme }
        const page = await browser.newPage({ ...size, locale: 'en-GB', timezoneId: 'Africa/Nairobi' })
        const part = await prepare(page)
        const file = `console-${name}-${width}-${colorScheme}.png`
        await page.evaluate('document.activeElement.blur()')
        await (part ?? page).screenshot({ path: join(images, file) })
        console.log(file)
        await page.close()
      }
} finally {
  await browser.close()
  await gateway.stop(0)
  await shop.close()
  rmSync(dataDir, { recursive: true, force: true })
}
