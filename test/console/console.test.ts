import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { audioOf, hasChromium, openBrowser } from '../support/browser.js'
import { until } from '../support/until.js'
import { whole } from '../support/gateway.js'

const TOKEN = 'ops-token-of-a-test'
const BUNDLE_BYTES_MAX = 150 * 1024
/** A sample above this is sound. */
const SOUND = 1000

t.test('the console has at most 150 KB, gzipped', (t) => {
  const folder = join(packageRoot(), 'dist', 'console')
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  t.ok(files.length >= 4, 'it is built')
  const bytes = files.reduce(
    (sum, { parentPath, name }) => sum + gzipSync(readFileSync(join(parentPath, name))).length,
    0,
  )
  t.ok(bytes <= BUNDLE_BYTES_MAX, `${bytes} bytes`)
  t.end()
})

/** A module of the page, which is built apart. */
async function consoleModule(name: string): Promise<unknown> {
  const entryPoints = [join(packageRoot(), 'src', 'console', name)]
  const [file] = (await build({ entryPoints, format: 'esm', write: false })).outputFiles
  return import(`data:text/javascript,${encodeURIComponent(file?.text ?? '')}`)
}

t.test('an edit keeps line ends and byte order mark', async (t) => {
  const { inTextarea, withLineEnds } = (await consoleModule('line-ends.ts')) as {
    readonly inTextarea: (text: string) => string
    readonly withLineEnds: (opened: string, edited: string) => string
  }
  const edit = (opened: string, from: string, to: string): string =>
    withLineEnds(opened, inTextarea(opened).replace(from, to))
  for (const text of ['', 'a', 'a\nb\n', '\uFEFFa\r\nb\r\n', 'a\r\nb\nc\rd', '\r\n\r\n', 'x\uFEFFy\r\n'])
    t.equal(edit(text, '', ''), text, JSON.stringify(text))
  t.equal(edit('\uFEFFa\r\nb\r\nc\r\n', 'b', 'B'), '\uFEFFa\r\nB\r\nc\r\n')
  t.equal(edit('a\r\nb\r\n', 'b', 'b\nnew'), 'a\r\nb\r\nnew\r\n', 'new lines get the end of the first')
  t.equal(edit('a\r\nb\nc\nd\r\n', 'b\n', ''), 'a\r\nc\nd\r\n', 'lines beside a removed one keep theirs')
  t.equal(edit('a\r\nb\nc\nd\r\n', 'b', 'B'), 'a\r\nB\nc\nd\r\n')
  t.equal(edit('a', 'a', 'a\nb'), 'a\nb')
})

t.test('charts name days correctly before a clock change', async (t) => {
  const zone = process.env['TZ']
  process.env['TZ'] = 'Europe/Berlin'
  t.teardown(() => {
    // Chromium does not run a call under an empty zone.
    if (zone === undefined) delete process.env['TZ']
    else process.env['TZ'] = zone
  })
  const { bucketOf, chartEnd } = (await consoleModule('format.ts')) as {
    readonly bucketOf: (from: string, bucketHours: number, at: number, isShort?: boolean) => string
    readonly chartEnd: (days: number, back: number, nowMs: number) => string
  }
  // 30 days up to the end of 9 April; the clock goes forward on 29 March.
  const days = Array.from({ length: 30 }, (_, at) => bucketOf('2026-03-10T22:00:00.000Z', 24, at, true))
  t.match([days[0], days[17], days[18], days[29]], [/\b11\b/, /\b28\b/, /\b29\b/, /\b9\b/])
  t.match(bucketOf('2026-03-28T22:00:00.000Z', 1, 4), /\b29\b.*\b04:00/, 'an hour is the one on the clock')
  t.match(bucketOf('2026-03-27T22:00:00.000Z', 6, 0), /\b27\b.*\b(?:23|11):00/, 'six hours begin on the day before')
  // The clock goes back on 25 October.
  const monday = Date.parse('2026-10-26T09:30:00.000Z')
  const ends = [0, 1, 2].map((back) => chartEnd(1, back, monday))
  t.same(
    ends,
    ['2026-10-26T09:30:00.000Z', '2026-10-25T09:30:00.000Z', '2026-10-24T09:30:00.000Z'],
    'no hour is missed',
  )
  t.equal(chartEnd(7, 0, monday), '2026-10-26T23:00:00.000Z')
  t.equal(chartEnd(7, 1, monday), '2026-10-19T22:00:00.000Z', 'days begin at midnight')
})

t.test('a browser logs in, calls and hears the greeting', async (t) => {
  if (!hasChromium(t)) return
  const { at, close } = await whole({ OPS_TOKEN: TOKEN })
  t.teardown(close)
  const browser = await openBrowser(t)
  const page = await browser.newPage()
  const heard = audioOf(page)
  await page.goto(`http://127.0.0.1:${at.opsPort}/#/phone`)
  await page.getByLabel('Ops token').fill(`${TOKEN}x`)
  await page.getByLabel('Look and act').check()
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('The token is wrong.').waitFor()
  await page.getByLabel('Ops token').fill(TOKEN)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('button', { name: 'Call without a microphone' }).click()
  await page.getByText('On the line').waitFor()
  const isSound = (): boolean => heard.samples().some((sample) => Math.abs(sample) > SOUND)
  await until(isSound, 5000, 'the sound of the greeting')

  await page.getByRole('link', { name: 'Calls', exact: true }).click()
  await page.getByRole('cell', { name: '+2547…01' }).first().waitFor()
  const talking = page.getByRole('row').filter({ hasText: 'talking' })
  // The row is there before the call's audio is.
  await talking.waitFor()
  t.equal(await talking.count(), 1)
  await page.getByRole('link', { name: /^Open HD_/ }).click()
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByRole('button', { name: 'Hang up: Sure?' }).click()
  await page.getByText('ended: operator-hangup').waitFor()
  t.equal(await page.getByRole('img', { name: /^Waterfall/ }).count(), 1)
  t.match(await page.getByRole('list', { name: 'Transcript' }).innerText(), /this is the order line/)
  t.notMatch(page.url(), TOKEN)
  t.notMatch(await page.evaluate('document.cookie'), /mkondo/, 'scripts cannot read the session')
})
