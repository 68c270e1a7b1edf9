import { cpSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { hasFirefox, openFirefox } from '../support/firefox.js'
import type { FirefoxPage } from '../support/firefox.js'
import { whole } from '../support/gateway.js'

const TOKEN = 'ops-token-of-a-test'
const WIDTHS_PX = [1280, 390]

/** Presses the button of these words. */
const press = (page: FirefoxPage, words: string): Promise<unknown> =>
  page.evaluate(
    `[...document.querySelectorAll('button')].find((one) => one.textContent === ${JSON.stringify(words)}).click()`,
  )

/** The edges of the current page's link in the bar, the widths that the page takes and has, and parts that scroll sideways. */
const LAYOUT = `(() => {
  const { left, right } = document.querySelector('nav [aria-current]').getBoundingClientRect()
  const parts = [...document.querySelectorAll('main *')]
    .filter((one) => one.scrollWidth > one.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(one).overflowX))
    .map(({ tagName, className }) => tagName + '.' + className)
  return JSON.stringify({ left, right, wide: document.documentElement.scrollWidth, width: innerWidth, parts })
})()`

interface Layout {
  readonly left: number
  readonly right: number
  readonly wide: number
  readonly width: number
  readonly parts: readonly string[]
}

/** Asserts of the shown page that it fits on a wide and on a narrow screen, with its name in sight in the bar. */
async function fits(t: Test, page: FirefoxPage, name: string): Promise<void> {
  for (const width of WIDTHS_PX) {
    await page.resize(width, 844)
    const at = JSON.parse(String(await page.evaluate(LAYOUT))) as Layout
    t.match(at, { width, parts: [] }, `${name}: ${width} px`)
    t.same(at.parts, [], `${name}: parts that scroll sideways on ${width} px`)
    t.ok(at.wide <= width, `${name}: ${at.wide} px wide on ${width}`)
    t.ok(at.left >= 0 && at.right <= width, `${name}: in sight in the bar of ${width} px`)
  }
}

t.test('Firefox calls, and shows every page without a fault', async (t) => {
  if (!hasFirefox(t)) return
  // Its start takes longest.
  const starting = openFirefox(t)
  const agents = t.testdir()
  cpSync(join(packageRoot(), 'agents'), agents, { recursive: true })
  const settings = { OPS_TOKEN: TOKEN, AGENTS_EDIT: 'true', AGENTS_DIR: agents, NODE_NAME: 'node-of-a-test' }
  const carrier = { SAUTIKIT_API_KEY: 'key-of-a-test-0123456789', SAUTIKIT_API_URL: 'http://127.0.0.1:9' }
  const { at, gateway, close } = await whole({ ...settings, ...carrier }, null, null, agents)
  t.teardown(close)
  const origin = `http://127.0.0.1:${at.opsPort}`
  const campaign = {
    ...{ name: 'Clinic reminders', agent: 'order-status', window: 'Mon-Sat 09:00-18:00', timeZone: 'Africa/Nairobi' },
    ...{ csv: 'phone\n0712345678\n', from: '+254700000000' },
  }
  const made = await fetch(`${origin}/api/campaigns`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify(campaign),
  })
  t.equal(made.status, 201, await made.text())

  const page = await starting
  await page.open(`${origin}/#/phone`)
  await page.shows('Ops token')
  await page.evaluate(`document.querySelector('input[type=password]').value = '${TOKEN}'`)
  await page.evaluate(`document.querySelector('input[value=act]').click()`)
  await press(page, 'Log in')
  await page.shows('Call without a microphone')
  await fits(t, page, 'phone')
  await press(page, 'Call without a microphone')
  await page.shows('On the line')
  const [live] = [...gateway.calls.live()]
  const sid = String(live?.callSid)

  const show = async (name: string, hash: string, text: string): Promise<void> => {
    await page.evaluate(`location.hash = '#/${hash}'`)
    await page.shows(text)
    await fits(t, page, name)
  }
  await show('live calls', 'calls', '1 call')
  await show('a live call', `calls/${sid}`, 'this is the order line')
  await page.evaluate(`location.hash = '#/phone'`)
  await press(page, 'Hang up')
  await page.shows('The call has ended')
  await show('an ended call', `calls/${sid}`, 'ended: caller-hung-up')
  await show('ended calls', 'calls', 'abandoned')
  await page.evaluate(`location.hash = '#/find'`)
  await page.shows('Find a call')
  await page.evaluate(`document.querySelector('form.find').requestSubmit()`)
  await show('find', 'find', '1 found')
  await show('charts', 'charts', '1 call')
  await show('campaigns', 'campaigns', 'Clinic reminders')
  await show('agents', 'agents', 'order-status.yaml')
  await show('an agent', 'agents/order-status', 'lookup_order')
  await show('editor', 'edit/order-status.yaml', 'Check')
  t.match(await page.evaluate(`document.querySelector('.editor textarea').value`), /greeting/)
  await show('fleet', 'fleet', 'node-of-a-test')
  await show('settings', 'settings', 'AGENTS_EDIT')
  t.same(page.faults, [])
})
