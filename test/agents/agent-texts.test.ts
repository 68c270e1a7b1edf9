import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { AgentTexts, hashOf } from '../../src/agents/file/agent-texts.js'
import { shownText } from '../../src/agents/file/literal-secrets.js'
import { examineDraft } from '../../src/agents/file/loader.js'

/** Texts of agents that an operator edits, publishes and rolls back, as files. */

const yaml = (greeting: string, more = '', name = 'a'): string =>
  `version: 1\nname: ${name}\ninstructions: Help.\ngreeting: ${greeting}\n${more}`
const hash = (text: string): string => hashOf(Buffer.from(text))
const ONE = yaml('One.')
const TWO = yaml('Two.')

const START_MS = 1_750_000_000_000

function folder(t: Test, files: Readonly<Record<string, string>> = { 'a.yaml': ONE }) {
  const dir = t.testdir(files)
  let nowMs = START_MS
  /** Runs in the next publication, after it has looked at the file for the first time. */
  let meanwhile = (): void => undefined
  const texts = new AgentTexts(dir, () => {
    meanwhile()
    return (nowMs += 1000)
  })
  return {
    dir,
    texts,
    now: () => readFileSync(join(dir, 'a.yaml'), 'utf8'),
    meanwhile: (work: () => void) => {
      meanwhile = work
    },
    /** Names below `.versions` of the file. */
    beside: () => readdirSync(join(dir, '.versions', 'a.yaml')).sort(),
    hashes: async () => (await texts.versions('a.yaml')).map((one) => one.hash),
  }
}

t.test('publishing replaces the whole file and keeps its mode', async (t) => {
  const { dir, texts, now } = folder(t)
  chmodSync(join(dir, 'a.yaml'), 0o640)
  const { ino } = statSync(join(dir, 'a.yaml'))
  t.ok(await texts.publish('a.yaml', TWO, [hash(ONE)]))
  t.equal(now(), TWO)
  const after = statSync(join(dir, 'a.yaml'))
  t.equal(after.mode & 0o777, 0o640)
  t.not(after.ino, ino, 'a concurrent reader gets the old or the new file')
  t.same(
    (await texts.versions('a.yaml')).map((one) => one.hash),
    [hash(TWO), hash(ONE)],
    'the newest first',
  )
  t.same(await texts.read('a.yaml', hash(ONE)), { text: ONE, hash: hash(ONE) })
  t.notOk(await texts.publish('a.yaml', TWO, []), 'publishing the same text changes nothing')
  t.ok(await texts.publish('a.yaml', ONE, [hash(TWO)]))
  t.same(
    (await texts.versions('a.yaml')).map((one) => one.hash),
    [hash(ONE), hash(TWO)],
    'a roll back adds no text',
  )
  t.same(readdirSync(dir).sort(), ['.versions', 'a.yaml'], 'nothing is left beside it')
})

t.test('a tried text is kept under its hash', async (t) => {
  const { dir, texts, beside, hashes } = folder(t)
  t.equal(await texts.keepTried('a.yaml', TWO), hash(TWO))
  t.equal(await texts.keepTried('a.yaml', TWO), hash(TWO))
  const name = `tried-${hash(TWO)}.yaml`
  t.same(beside(), [name])
  t.equal(readFileSync(join(dir, '.versions', 'a.yaml', name), 'utf8'), TWO)
  await texts.publish('a.yaml', yaml('Three.'), [hash(ONE)])
  t.ok(beside().includes(name), 'a publication does not remove it')
  t.notOk((await hashes()).includes(hash(TWO)), 'it is not offered for a roll back')
  for (let at = 0; at < 110; at++) await texts.keepTried('a.yaml', yaml(`Text ${at}.`))
  const tried = beside().filter((one) => one.startsWith('tried-'))
  t.equal(tried.length, 100)
  t.ok(tried.includes(`tried-${hash(yaml('Text 109.'))}.yaml`))
  await t.rejects(texts.keepTried('../a.yaml', TWO), { code: 'AGENT_UNKNOWN' })
})

t.test('a text keeps its line ends and byte order mark', async (t) => {
  const windows = `\uFEFF${ONE.replaceAll('\n', '\r\n')}`
  const { dir, texts, now } = folder(t, { 'a.yaml': windows })
  const { text } = await texts.read('a.yaml', null)
  t.equal(text, windows)
  t.match(shownText(text), { agent: 'a', refusal: null })
  const edited = text.replace('One.', 'Two.')
  const { read } = await examineDraft({ file: 'a.yaml', text: edited }, dir, {})
  t.match(read, { ok: true, faults: [] })
  await texts.publish('a.yaml', edited, [hash(windows)])
  t.equal(now(), edited)
  t.equal((await texts.read('a.yaml', hash(windows))).text, windows, 'a kept text too')
})

t.test('kept texts are readable by their owner only', async (t) => {
  const { dir, texts } = folder(t, { 'a.yaml': ONE, '.versions': { 'a.yaml': {} } } as never)
  const folders = [join(dir, '.versions'), join(dir, '.versions', 'a.yaml')]
  for (const one of folders) chmodSync(one, 0o755)
  await texts.publish('a.yaml', TWO, [hash(ONE)])
  for (const one of folders) t.equal(statSync(one).mode & 0o777, 0o700)
})

t.test('publishing over a changed text is refused [2]', async (t) => {
  const { dir, texts, now } = folder(t)
  await texts.publish('a.yaml', TWO, [hash(ONE)])
  const late = texts.publish('a.yaml', yaml('Three.'), [hash(ONE)])
  await t.rejects(late, { code: 'AGENT_CHANGED', message: new RegExp(hash(TWO)) })
  t.equal(now(), TWO)
  writeFileSync(join(dir, 'a.yaml'), yaml('By hand.'))
  await t.rejects(texts.publish('a.yaml', ONE, [hash(TWO)]), { code: 'AGENT_CHANGED' })
  t.equal(now(), yaml('By hand.'))
  await texts.publish('a.yaml', ONE, [hash(yaml('By hand.'))])
  t.match(
    await texts.read('a.yaml', hash(yaml('By hand.'))),
    { text: yaml('By hand.') },
    'what was written by hand is kept',
  )
})

t.test('a failed write changes nothing and reports the reason [1]', async (t) => {
  const { dir, texts, now, meanwhile, beside, hashes } = folder(t)
  // As a read-only folder and a full disk do, also for root: the texts before cannot be kept.
  writeFileSync(join(dir, '.versions'), '')
  const refused = { code: 'AGENTS_DIR_UNWRITABLE', message: /a\.yaml cannot be replaced \(E[A-Z]+\)/ }
  await t.rejects(texts.publish('a.yaml', TWO, [hash(ONE)]), refused)
  t.equal(now(), ONE)
  t.same(readdirSync(dir).sort(), ['.versions', 'a.yaml'])

  // All is written, and the file cannot be replaced at the end.
  rmSync(join(dir, '.versions'))
  meanwhile(() => {
    rmSync(join(dir, 'a.yaml'))
    mkdirSync(join(dir, 'a.yaml'))
  })
  await t.rejects(texts.publish('a.yaml', TWO, [hash(ONE)]), { ...refused, message: /EISDIR/ })
  t.same(await hashes(), [hash(ONE)], 'a text that was not published is not kept')
  t.equal(beside().length, 1, 'nothing else is left')

  rmSync(join(dir, 'a.yaml'), { recursive: true })
  writeFileSync(join(dir, 'a.yaml'), ONE)
  meanwhile(() => rmSync(join(dir, 'a.yaml')))
  await t.rejects(texts.publish('a.yaml', TWO, [hash(ONE)]), { ...refused, message: /ENOENT/ }, 'a file that is gone')
})

t.test('of two concurrent publications one is refused without traces [3]', async (t) => {
  const { dir, texts, now, meanwhile, beside, hashes } = folder(t)
  const both = await Promise.allSettled([
    texts.publish('a.yaml', TWO, [hash(ONE)]),
    texts.publish('a.yaml', yaml('Three.'), [hash(ONE)]),
  ])
  t.match(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.match(
    both.find(({ status }) => status === 'rejected'),
    { reason: { code: 'AGENT_CHANGED', message: new RegExp(hash(now())) } },
  )
  t.same((await hashes()).sort(), [hash(now()), hash(ONE)].sort())

  const opened = hash(now())
  meanwhile(() => writeFileSync(join(dir, 'a.yaml'), yaml('By hand.')))
  await t.rejects(texts.publish('a.yaml', yaml('Four.'), [opened]), { code: 'AGENT_CHANGED' })
  t.equal(now(), yaml('By hand.'), 'a concurrent edit on disk is not replaced')
  t.notOk((await hashes()).includes(hash(yaml('Four.'))))
  t.notOk(beside().some((name) => name.endsWith('.new')))
})

t.test('damaged kept texts and leftovers of a crash are replaced', async (t) => {
  const { dir, texts, beside, hashes } = folder(t)
  await texts.publish('a.yaml', TWO, [hash(ONE)])
  const at = (name: string): string => join(dir, '.versions', 'a.yaml', name)
  writeFileSync(at(`${START_MS - 1}-${hash(yaml('Three.'))}.yaml`), 'version')
  writeFileSync(at(`${START_MS - 60_000}-left.new`), 'version')
  writeFileSync(at(`${START_MS}-other.new`), 'version')
  await texts.publish('a.yaml', yaml('Three.'), [hash(TWO)])
  await texts.publish('a.yaml', TWO, [hash(yaml('Three.'))])
  t.match(await texts.read('a.yaml', hash(yaml('Three.'))), { text: yaml('Three.') })
  t.same(await hashes(), [hash(TWO), hash(yaml('Three.')), hash(ONE)])
  t.same(
    beside().filter((name) => name.endsWith('.new')),
    [`${START_MS}-other.new`],
    'the file of another publication stays',
  )
})

t.test('publishing succeeds only if the file has an expected text', async (t) => {
  const publication = [yaml('Three.'), [hash(TWO), hash(ONE)]] as const
  const away = folder(t)
  t.ok(await away.texts.publish('a.yaml', ...publication))
  t.equal(away.now(), yaml('Three.'))

  const { texts, now } = folder(t)
  await texts.publish('a.yaml', TWO, [hash(ONE)])
  await texts.publish('a.yaml', ONE, [hash(TWO)])
  await t.rejects(texts.publish('a.yaml', ...publication), { code: 'AGENT_CHANGED' })
  t.equal(now(), ONE)
})

t.test('only exact names of files in the folder are accepted', async (t) => {
  const outside = t.testdir({
    'a.yaml': ONE,
    sub: { 'c.yaml': ONE },
    in: { 'a.yaml': ONE, 'code.mjs': '', '.b.yaml': ONE },
  })
  symlinkSync(join(outside, 'sub', 'c.yaml'), join(outside, 'in', 'link.yaml'))
  const texts = new AgentTexts(join(outside, 'in'), Date.now)
  for (const name of [
    '../a.yaml',
    'sub/../a.yaml',
    '/etc/passwd',
    '..',
    '',
    'a.yaml\0',
    'A.yaml',
    '.b.yaml',
    '.versions',
  ]) {
    await t.rejects(texts.read(name, null), { code: 'AGENT_UNKNOWN' }, JSON.stringify(name))
    await t.rejects(texts.publish(name, TWO, [hash(ONE)]), { code: 'AGENT_UNKNOWN' }, JSON.stringify(name))
  }
  await t.rejects(texts.read('a.yaml', '../../x'), { code: 'AGENT_UNKNOWN' }, 'a path as version')
  for (const [name, why] of [
    ['link.yaml', /is a link/],
    ['code.mjs', /is a module/],
  ] as const) {
    await t.rejects(texts.read(name, null), { code: 'AGENT_INVALID', message: why })
    await t.rejects(texts.publish(name, TWO, [hash(ONE)]), { code: 'AGENT_INVALID', message: why })
  }
  t.equal(readFileSync(join(outside, 'sub', 'c.yaml'), 'utf8'), ONE)
  t.match(await texts.list(), [
    { file: 'a.yaml', hash: hash(ONE), refusal: null },
    { file: 'code.mjs', hash: null, refusal: /is a module/ },
    { file: 'link.yaml', hash: null, refusal: /is a link/ },
  ])
})

t.test('only the last 20 texts of a file are kept', async (t) => {
  const { texts } = folder(t)
  let before = ONE
  for (let step = 0; step < 25; step++) {
    const next = yaml(`Step ${step}.`)
    await texts.publish('a.yaml', next, [hash(before)])
    before = next
  }
  const kept = await texts.versions('a.yaml')
  t.equal(kept.length, 20)
  t.equal(kept[0]?.hash, hash(before))
  await t.rejects(texts.read('a.yaml', hash(ONE)), { code: 'AGENT_UNKNOWN' })
})

const TOOL = (headers: string, more = ''): string =>
  yaml(
    'Hello.',
    `tools:
  - name: look_up
    description: Finds an order.
    parameters: { properties: { order: { type: string } } }
    http: { url: 'https://shop.example/orders', headers: ${headers}${more} }
`,
  )

t.test('a text with a literal secret is not shown', (t) => {
  const secret = 's3cr3t-of-the-author'
  for (const [text, place] of [
    [TOOL(`{ Authorization: 'Bearer ${secret}' }`), /tools\[0\]\.http\.headers\.Authorization holds a literal value/],
    [TOOL(`{ X-Shop: '${secret}' }`), /tools\[0\]\.http\.headers\.X-Shop holds/],
    [TOOL(`{ X-Conversion-Key: '${secret}' }`), /http\.headers\.X-Conversion-Key holds/],
    [TOOL(`{ query: '${secret}' }`), /http\.headers\.query holds/],
    [TOOL('{}', `, query: { api_key: '${secret}' }`), /tools\[0\]\.http\.query\.api_key holds/],
    [TOOL('{}', `, query: { accessToken: '${secret}' }`), /http\.query\.accessToken holds/],
    [TOOL('{}').replace('/orders', `/orders?sig=a&access_token=${secret}`), /tools\[0\]\.http\.url holds/],
    [TOOL('{}', `, method: POST, body: '{"password": "${secret}"}'`), /tools\[0\]\.http\.body holds/],
    [TOOL('{}', ', method: POST, body: { password: 40771234 }'), /http\.body\.password holds/],
    [yaml('Hi.', `mcp: [{ name: crm, command: [crm, '--token=${secret}'] }]\n`), /mcp\[0\]\.command\[1\] holds/],
    [yaml('Hi.', `mcp: [{ name: crm, command: [crm, --api-key, ${secret}] }]\n`), /mcp\[0\]\.command\[2\] holds/],
    [yaml('Hi.', `stream: { headerMetadata: { shop-token: ${secret} } }\n`), /headerMetadata\.shop-token holds/],
    [yaml('Hi.', `stream: { openMetadata: '{"token":"${secret}"}' }\n`), /stream\.openMetadata holds/],
    [`${ONE}# password: ${secret}\n`, /line 5 holds what looks like a key/],
    [`${ONE}# SHOP_TOKEN=${secret}\n`, /line 5 holds what looks like a key/],
    [TOOL('{}', `, method: POST, body: { login: { password: '${secret}' } }`), /http\.body\.login\.password holds/],
    [`${ONE}# the key is sk-${secret}\n`, /line 5 holds what looks like a key/],
    [`version: 1\nname: [a\n# ${secret}\n`, /the file is not YAML/],
  ] as const) {
    const shown = shownText(text)
    t.match(shown.refusal, place)
    t.notMatch(JSON.stringify(shown), secret)
  }
  const fine = TOOL(
    `{ Authorization: 'Bearer {{env.SHOP_KEY}}', X-Key: '\${SHOP_KEY}', Accept: application/json }`,
    `, query: { phone: '{{call.from}}', limit: '3', keyword: shoes }, method: POST, body: { author: Amina, max_tokens: 256, key: 7 }`,
  )
  for (const text of [
    fine,
    fine.replace('/orders', '/orders?key={{ env.SHOP_KEY }}&token=${TOKEN}&author=Amina'),
    TOOL('{}').replace('{ order: { type: string } }', '{ body: { properties: { token: { type: string } } } }'),
    yaml('Hi.', 'verification: { identity: { token: session.token } }\n'),
    yaml('Hi.', 'mcp: [{ name: crm, command: [crm, --keyword, shoes, --token-file, /run/token] }]\n'),
    `${ONE}# The password: nobody asks for it.\n# token: {{env.SHOP_KEY}}\n`,
  ])
    t.same(shownText(text), { agent: 'a', refusal: null })
  t.end()
})

t.test('a draft is checked with its folder and not written', async (t) => {
  const canary = `${yaml('Two.')}canary: { percent: 10 }\n`
  const { dir } = folder(t, {
    'a.yaml': ONE,
    'a.next.yaml': canary,
    'b.yaml': yaml('Bee.', 'handoverTo: { a: For orders. }\n', 'b'),
    'broken.yaml': 'version: 9\n',
  })
  const faults = async (text: string, file = 'a.yaml'): Promise<string> => {
    const { read, broken } = await examineDraft({ file, text }, dir, {})
    return [...read.faults, ...broken]
      .map(({ file: at, line, what }) => `${at.slice(dir.length + 1)}:${line} ${what}`)
      .join('\n')
  }
  t.equal(await faults(yaml('Three.')), '', 'faults of other files are not reported')
  t.match(
    await faults(yaml('Three.', 'greting: x\n')),
    /^a\.yaml:5 greting is not a key of an agent; did you mean greeting/,
  )
  t.match(await faults('version: 1\nname: [a\n'), /^a\.yaml:\d is not YAML/)
  t.match(await faults(yaml('Three.', '', 'c')), /^a\.yaml:2 name is c; allowed: a/, 'an edit must keep the name')
  t.match(await faults(yaml('Bee.', '', 'a'), 'b.yaml'), /^b\.yaml:2 name is a; allowed: b/)
  t.match(
    await faults(yaml('Three.', 'maxCalls: 3\n')),
    /^a\.next\.yaml:2 canary: maxCalls must be the same as in the agent itself,/,
  )
  t.match(
    await faults('version: 1\nname: a\n'),
    /a\.yaml:1 instructions is missing[^]*b\.yaml:1 hands over to a, which is not an agent/,
  )
  t.equal(readFileSync(join(dir, 'a.yaml'), 'utf8'), ONE)
})
