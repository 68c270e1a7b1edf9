import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { Page } from 'playwright-core'
import { WebSocket } from 'ws'
import { hashOf } from '../../src/agents/file/agent-texts.js'
import { packageRoot } from '../../src/config/package-root.js'
import { post } from '../edge/gateway.js'
import { hasChromium, openBrowser } from '../support/browser.js'
import { whole } from '../support/gateway.js'
import { until } from '../support/until.js'

/** Agents are edited, tried and published in the console of a whole gateway. */

const TOKEN = 'ops-token-of-a-test'
const FILE = 'order-status.yaml'
/** A check takes a thread that reads all agents: seconds on a busy machine. */
const WORK_MS = 30_000
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const shipped = await readFile(join(packageRoot(), 'agents', FILE), 'utf8')
const greeted = (words: string): string => shipped.replace(/^greeting: .*$/m, `greeting: ${words}`)

interface Json {
  readonly [key: string]: unknown
}

/** A gateway whose agents may be edited, with the order line in a folder of its own. */
async function editable(t: Test, files: Readonly<Record<string, string>> = { [FILE]: shipped }) {
  const dir = await mkdtemp(join(tmpdir(), 'mkondo-edited-'))
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text)
  const lines: Json[] = []
  const log = { write: (line: string) => void lines.push(JSON.parse(line) as Json) }
  const env = { OPS_TOKEN: TOKEN, AGENTS_EDIT: 'true', AGENTS_DIR: dir }
  const { gateway, at, close } = await whole(env, null, log, dir)
  t.teardown(async () => {
    await close()
    await rm(dir, { recursive: true, force: true })
  })
  const headers = { authorization: `Bearer ${TOKEN}` }
  const ask = async (what: string, json: Json): Promise<Json & { readonly status: number }> => {
    for (;;) {
      const { status, text } = await post(`http://127.0.0.1:${at.opsPort}/api/editor/${what}`, { json, headers })
      // Another text is being checked.
      if (status !== 503) return { ...(JSON.parse(text) as Json), status }
    }
  }
  /** A call from the console. @returns its SID, and ends it */
  const call = async (draft: unknown) => {
    const socket = new WebSocket(`ws://127.0.0.1:${at.opsPort}/api/phone`, { headers })
    const news: Json[] = []
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) news.push(JSON.parse(data.toString()) as Json)
    })
    await new Promise((resolve) => socket.once('open', resolve))
    socket.send(JSON.stringify({ type: 'call', agent: 'order-status', from: '+254700000001', draft }))
    await until(() => news.some(({ type }) => type === 'stream-opened' || type === 'refused'), WORK_MS, 'the call')
    const sid = String(news.find(({ type }) => type === 'placed')?.['callSid'])
    const hangUp = async () => {
      socket.send('{"type":"hang-up"}')
      await until(() => gateway.calls.record(sid) !== undefined, WORK_MS, 'the record')
      socket.terminate()
      return gateway.calls.record(sid)
    }
    return { news, sid, hangUp }
  }
  const audited = () => lines.filter(({ component }) => component === 'audit')
  return { dir, at, ask, call, audited }
}

t.test('a draft answers only trial calls until its publication [1]', async (t) => {
  const { dir, ask, call, audited } = await editable(t, {
    [FILE]: shipped,
    'next.yaml': `${greeted('Hello from the canary.')}\ncanary: { percent: 100 }\n`,
  })
  const edited = greeted('Hello from the draft.')
  const draft = await ask('draft', { file: FILE, text: edited })
  t.match(draft, { faults: [], agent: 'order-status' })
  const [tried, real] = await Promise.all([call(draft['id']), call(null)])
  t.equal((await tried.hangUp())?.agentVersion, draft['version'])
  t.match((await call('6f1e2f9a-0000-4000-8000-000000000000')).news, [
    { type: 'refused', message: /not kept any more/ },
  ])
  t.equal(await readFile(join(dir, FILE), 'utf8'), shipped, 'nothing was written')

  const base = hashOf(Buffer.from(shipped))
  const published = await ask('publish', { file: FILE, text: edited, base })
  t.match(published, { published: true, nodes: [{ outcome: 'published', inUse: true, why: null }] })
  t.equal(await readFile(join(dir, FILE), 'utf8'), edited)
  const version = (await real.hangUp())?.agentVersion
  t.not(version, draft['version'], 'a live call keeps its version, that of the canary which has all calls')
  t.match(await ask('publish', { file: FILE, text: shipped, base }), { status: 409 }, 'the second editor')

  const byHand = greeted('By hand.')
  await writeFile(join(dir, FILE), byHand)
  const late = await ask('publish', { file: FILE, text: shipped, base: published['hash'] })
  t.match(late, { status: 409 }, 'edited on disk')
  t.match(await ask('publish', { file: FILE, text: shipped, base: hashOf(Buffer.from(byHand)) }), { published: true })
  t.equal(await readFile(join(dir, FILE), 'utf8'), shipped)
  const edits = audited().filter(({ command, outcome }) => /-agent$/.test(String(command)) && outcome === 'done')
  t.match(edits, [
    { command: 'try-agent', file: FILE },
    { command: 'publish-agent', before: base, after: published['hash'], token_kind: 'OPS_TOKEN' },
    { command: 'roll-back-agent', before: hashOf(Buffer.from(byHand)), after: base },
  ])
  const calls = audited().filter(({ command }) => command === 'softphone')
  t.match(new Map(calls.map(({ call_sid, tries }) => [call_sid, tries])), new Map([[tried.sid, 'draft']]))
  t.equal(calls.find(({ call_sid }) => call_sid === real.sid)?.['tries'], undefined)
  t.notMatch(JSON.stringify(audited()), /Hello from|254700000001/)
})

async function loggedIn(t: Test, opsPort: number): Promise<Page> {
  const page = await (await openBrowser(t)).newPage()
  await page.goto(`http://127.0.0.1:${opsPort}/#/agents`)
  await page.getByLabel('Ops token').fill(TOKEN)
  await page.getByLabel('Look and act').check()
  await page.getByRole('button', { name: 'Log in' }).click()
  return page
}

t.test('an agent is edited, tried and published in the browser', async (t) => {
  if (!hasChromium(t)) return
  const { dir, at } = await editable(t)
  const page = await loggedIn(t, at.opsPort)
  page.setDefaultTimeout(WORK_MS)
  await page.getByRole('link', { name: `Edit ${FILE}` }).click()
  const text = page.getByLabel('Text of the file')
  await text.fill(shipped.replace('greeting:', 'greting:'))
  await page.getByRole('button', { name: 'Check' }).click()
  await page.getByText('1 fault', { exact: true }).waitFor()
  await page.getByText(/greting is not a key of an agent/).waitFor()
  const line = shipped.split('\n').findIndex((one) => one.startsWith('greeting')) + 1
  await page.getByRole('button', { name: `${line}:1` }).click()
  const caret = `document.querySelector('textarea').value.slice(document.querySelector('textarea').selectionStart).slice(0, 7)`
  t.equal(await page.evaluate(caret), 'greting')
  await page.evaluate(AXE)
  for (const [colorScheme, width] of [
    ['light', 1280],
    ['dark', 390],
  ] as const) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 800 })
    const { violations } = await page.evaluate<{ violations: { id: string; impact: string }[] }>(
      `axe.run({ resultTypes: ['violations'] })`,
    )
    t.same(
      violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)),
      [],
      `${colorScheme} ${width}`,
    )
    t.ok((await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth')) <= 0, 'nothing is wider')
  }
  await page.setViewportSize({ width: 1280, height: 800 })

  await text.fill(greeted('Hello from the draft.'))
  await page.getByRole('button', { name: 'Try it' }).click()
  await page.getByRole('button', { name: 'Call without a microphone' }).click()
  await page
    .getByText(/Hello from the draft/)
    .nth(0)
    .waitFor()
  await page.getByRole('button', { name: 'Hang up' }).click()
  await page.getByText('The call has ended').waitFor()
  t.equal(await readFile(join(dir, FILE), 'utf8'), shipped)

  // Somebody else edits the file meanwhile, on Windows.
  const windows = (lines: string): string => `\uFEFF${lines.replaceAll('\n', '\r\n')}`
  await writeFile(join(dir, FILE), windows(greeted('By hand.')))
  const sure = async (name: string): Promise<void> => {
    await page.getByRole('button', { name, exact: true }).click()
    await page.getByRole('button', { name: `${name}: Sure?` }).click()
  }
  await sure('Publish')
  await page.getByText(`Line ${line} has changed.`).waitFor()
  t.equal(await text.inputValue(), greeted('Hello from the draft.'), 'what was written is still there')
  await page.getByRole('button', { name: 'Open the current file' }).click()
  await page.getByRole('button', { name: 'Open the current file: Sure?' }).waitFor()
  t.equal(await text.inputValue(), greeted('Hello from the draft.'), 'one press drops nothing')
  await page.getByRole('button', { name: 'Open the current file: Sure?' }).blur()
  await sure('Open the current file')
  await until(async () => (await text.inputValue()) === greeted('By hand.'), WORK_MS, 'the text of now')
  await text.fill(greeted('Hello again.'))
  // What would be typed while it is published, or opened, would be lost.
  const held: (() => void)[] = []
  for (const path of ['publish', 'open'])
    await page.route(`**/api/editor/${path}`, async (route) => {
      await new Promise<void>((resolve) => held.push(resolve))
      await route.continue()
    })
  await sure('Publish')
  for (const at of [0, 1]) {
    await until(() => held.length > at, WORK_MS, 'the request')
    await until(async () => !(await text.isEditable()), WORK_MS, 'a text that cannot be edited')
    held[at]?.()
  }
  await page.getByText(/^Published as/).waitFor()
  t.ok(await text.isEditable())
  await page.unrouteAll()
  t.equal(
    await readFile(join(dir, FILE), 'utf8'),
    windows(greeted('Hello again.')),
    'line ends and byte order mark stay',
  )
  await page.getByRole('combobox', { name: 'Text', exact: true }).selectOption({ index: 1 })
  await page.getByText(/This is an earlier text/).waitFor()
  t.equal(await text.inputValue(), greeted('By hand.'))
  t.equal(await page.getByRole('button', { name: 'Roll back to this text' }).isEnabled(), true)
})
