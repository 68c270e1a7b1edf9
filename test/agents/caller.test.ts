import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { callerAnswer, findCaller, readCallers } from '../../src/agents/identity/caller.js'
import { faultsText, readAgents } from '../../src/agents/file/loader.js'
import { offeredTools } from '../../src/agents/tools/offered-tools.js'

const TOOL = `tools:
  - name: lookup_customer
    description: Looks the caller up.
    parameters: { properties: { phone: { type: string } }, required: [phone] }
    bind: { phone: "{{call.from}}" }
    http: { url: "http://127.0.0.1:1/customers", query: { phone: "{{args.phone}}" }, allowPrivate: true }
    result: { fields: { name: name, tier: tier } }
`
const AGENT = `version: 1
name: a
instructions: "Serve {{caller.name}}."
`

async function load(t: Test, yaml: string, files: Record<string, string | Buffer> = {}) {
  const dir = t.testdir()
  await mkdir(dir, { recursive: true })
  for (const [name, text] of Object.entries({ ...files, 'a.yaml': yaml })) await writeFile(join(dir, name), text)
  const [read] = await readAgents(dir, {})
  if (read === undefined) throw new Error('no file was read')
  const faults = read.faults.length === 0 ? [] : faultsText(read.faults).replaceAll(`${dir}/`, '').split('\n')
  return read.ok ? { ...read, faults } : { faults, agent: null, assets: null }
}

t.test('callers are found by number in any written form', async (t) => {
  const csv = [
    'phone;name;tier;note',
    '0712 345 678;Amina;gold;"two words"',
    '+254722000001;Juma;;',
    '254733000002;Neema;silver;',
  ].join('\r\n')
  const { agent, assets, faults } = await load(t, `${AGENT}caller: { file: customers.csv }\n`, {
    'customers.csv': `\ufeff${csv}`,
  })
  t.same(faults, [])
  t.equal(agent?.caller?.withinMs, 800)
  const rows = assets?.callers
  if (rows == null) throw new Error('the file was not read')
  t.same(rows.fields, ['name', 'tier', 'note'])
  t.same(findCaller(rows, '+254712345678'), {
    state: 'found',
    from: 'file',
    values: { name: 'Amina', tier: 'gold', note: 'two words' },
  })
  t.same(findCaller(rows, '+254722000001').values, { name: 'Juma' }, 'an empty cell is not known')
  t.match(findCaller(rows, '+254733000002').values, { name: 'Neema' })
  for (const stranger of ['+254711111111', '+254799999999', '+254700000000'])
    t.match(findCaller(rows, stranger), { state: 'unknown', values: {} })
  t.match(findCaller(rows, 'anonymous'), { state: 'withheld' })
  t.match(findCaller(rows, ''), { state: 'withheld', values: {} })
})

t.test("a file's delimiter does not split values with other separators", async (t) => {
  const dir = t.testdir({
    'semicolons.csv': 'sep=;\nphone;name;balance\n0712345678;Amina, Wanjiru;1.250,50\n',
    'tabs.csv': 'phone\tname\n0712345678\tAmina; Wanjiru, Nakuru\n',
  })
  const found = async (file: string): Promise<unknown> =>
    findCaller((await readCallers(join(dir, file), 'phone')).rows, '+254712345678').values
  t.same(await found('semicolons.csv'), { name: 'Amina, Wanjiru', balance: '1.250,50' })
  t.same(await found('tabs.csv'), { name: 'Amina; Wanjiru, Nakuru' })
})

t.test('each of 5,000 rows is found', async (t) => {
  const dir = t.testdir({
    'many.json': JSON.stringify(
      Array.from({ length: 5000 }, (_, i) => ({
        msisdn: `+2547${String(10_000_000 + i * 17)}`,
        n: i,
        vip: i % 2 === 0,
      })),
    ),
    'none.csv': 'phone,name\n',
  })
  const { rows } = await readCallers(join(dir, 'many.json'), 'msisdn')
  const wrong = Array.from({ length: 5000 }, (_, i) => i).filter(
    (i) => findCaller(rows, `+2547${String(10_000_000 + i * 17)}`).values['n'] !== i,
  )
  t.same(wrong, [])
  t.match(findCaller(rows, '+254710000001'), { state: 'unknown' })
  t.match(findCaller((await readCallers(join(dir, 'none.csv'), 'phone')).rows, '+254712345678'), { state: 'unknown' })
})

t.test('an unusable row is reported without caller data', async (t) => {
  const csv = [
    '\ufeffphone;name;tier',
    "'0712345678;Amina",
    '',
    '7.01E+08;Juma;gold',
    '254733000002.0;Neema;silver;;',
    '0722000001;Otieno;gold;more',
    '0744000003;Wanjiru;gold',
    '+254744000003;Kamau;gold',
  ].join('\r\n')
  const { agent, assets, faults } = await load(t, `${AGENT}caller: { file: c.csv }\n`, { 'c.csv': csv })
  t.match(faults, [
    /caller\.file: c\.csv: line 4: has in phone a number that a spreadsheet has shortened/,
    /c\.csv: line 6: has more than 3 cells, as many as there are names/,
    /c\.csv: line 8: has in phone the same number as line 7; callers with this number are not recognised/,
  ])
  t.notMatch(faults.join(), /Juma|Otieno|Kamau|722000001|744000003/)
  const rows = assets?.callers
  if (agent === null || rows == null) throw new Error('one row took the agent with it')
  t.same(findCaller(rows, '+254712345678').values, { name: 'Amina' }, 'a spreadsheet leaves out empty cells at the end')
  t.match(findCaller(rows, '+254733000002').values, { name: 'Neema' })
  t.match(findCaller(rows, '+254744000003'), { state: 'unknown', values: {} }, 'the number is ambiguous')
})

t.test('an unreadable customer list disables only the look-up [1]', async (t) => {
  const faultOf = async (name: string, text: string | Buffer) => {
    const { agent, assets, faults } = await load(t, `${AGENT}caller: { file: ${name} }\n`, { [name]: text })
    t.equal(agent?.name, 'a', 'the agent answers')
    t.equal(assets?.callers, null)
    t.equal(faults.length, 1)
    return faults.join('\n')
  }
  const noHeader = await faultOf('c.csv', '0777665544,Amina\n')
  t.match(noHeader, /caller\.file: c\.csv: line 1: has no column phone \(caller\.key\).*; no caller is recognised/)
  t.notMatch(noHeader, /Amina|77665544/)
  t.match(await faultOf('c.csv', ''), /there is no row/)
  t.match(await faultOf('c.csv', Buffer.from('PK\x03\x04\0\0\0\0\0\0', 'latin1')), /is not text; allowed: CSV/)
  t.match(await faultOf('c.csv', 'phone,mobile number,Mobile\n'.replace('phone', 'x')), /has no column phone/)
  t.match(await faultOf('c.json', '{"Amina": 0712'), /is not a JSON list of objects/)
  t.match(await faultOf('c.json', '[1]'), /is not a JSON list of objects/)
  const missing = await load(t, `${AGENT}caller: { file: nowhere.csv }\n`)
  t.match(missing.faults, [/caller\.file: nowhere\.csv: cannot be read.*; no caller is recognised/])
  t.equal(missing.agent?.name, 'a')
})

t.test('a customer list is read in every Excel encoding [2]', async (t) => {
  const csv = 'phone;name\r\n0712345678;Amélie Wanjirũ\r\n'
  const wide = Buffer.from(csv, 'utf16le')
  const latin = csv.replace('ũ', 'ü')
  for (const [encoding, bytes, name] of [
    ['UTF-8', Buffer.from(csv), 'Amélie Wanjirũ'],
    ['UTF-8 with its mark', Buffer.from(`\ufeff${csv}`), 'Amélie Wanjirũ'],
    ['Latin-1', Buffer.from(latin, 'latin1'), 'Amélie Wanjirü'],
    ['UTF-16 with its mark', Buffer.concat([Buffer.from([0xff, 0xfe]), wide]), 'Amélie Wanjirũ'],
    ['UTF-16 without a mark', wide, 'Amélie Wanjirũ'],
    ['UTF-16, the other way round', Buffer.from(Buffer.from(`\ufeff${csv}`, 'utf16le')).swap16(), 'Amélie Wanjirũ'],
    ['UTF-16 the other way round, without a mark', Buffer.from(wide).swap16(), 'Amélie Wanjirũ'],
  ] as const) {
    const { assets, faults } = await load(t, `${AGENT}caller: { file: c.csv }\n`, { 'c.csv': bytes })
    t.same(faults, [], encoding)
    if (assets?.callers == null) throw new Error(encoding)
    t.same(findCaller(assets.callers, '+254712345678').values, { name }, encoding)
  }
  const euro = Buffer.from('phone,name,plan\n0712345678,Zo\x91e,\x80 20\n', 'latin1')
  const { assets } = await load(t, `${AGENT}caller: { file: c.csv }\n`, { 'c.csv': euro })
  if (assets?.callers == null) throw new Error('Windows')
  t.same(findCaller(assets.callers, '+254712345678').values, { name: 'Zo‘e', plan: '€ 20' })
  const json = Buffer.from('[{"Phone": "0712345678", "name": "Zo\xe9"}]', 'latin1')
  const list = await load(t, `${AGENT}caller: { file: c.json }\n`, { 'c.json': json })
  if (list.assets?.callers == null) throw new Error('JSON')
  t.same(findCaller(list.assets.callers, '+254712345678').values, { name: 'Zoé' })
})

t.test('a renamed header is read if it is unambiguous [3]', async (t) => {
  const found = async (head: string, more = '') => {
    const { agent, assets, faults } = await load(
      t,
      `${AGENT}caller: { file: c.csv }\ngreeting: "Hi {{caller.firstName}}"\n${more}`,
      { 'c.csv': `${head}\n0712345678,Amina,Amina,gold\n` },
    )
    t.equal(agent?.name, 'a', head)
    const values = assets?.callers == null ? null : findCaller(assets.callers, '+254712345678').values
    return { values, faults }
  }
  const values = { name: 'Amina', firstName: 'Amina', tier: 'gold' }
  for (const head of [
    'phone,name,firstName,tier',
    'Phone,NAME,First name,tier',
    'Simu,Name,FIRST_NAME,tier',
    'Mobile No.,name ,first-name,tier',
  ])
    t.match(await found(head), { values, faults: [] }, head)
  const lost = await found('Customer telephone,name,firstName,tier')
  t.equal(lost.values, null, 'the column of numbers is unknown')
  t.match(lost.faults, [/line 1: has no column phone/])
  t.match(await found('phone,label,firstName,tier'), {
    values: { firstName: 'Amina', label: 'Amina', tier: 'gold' },
    faults: [/reads \{\{caller\.name\}\}, which is not a field of the caller/],
  })
  t.match(await found('phone,name,name,firstName'), {
    values: { name: 'Amina', firstName: 'gold' },
    faults: [/line 1: has two columns with one name/],
  })
})

t.test('empty, error and shortened cells give no value [4]', async (t) => {
  const csv = [
    'phone,name,plan,balance,renewal_date,since',
    '0712345678,null,#REF!,1.23457E+11,45987,45987',
    '0712345679,0712345679,N/A,########,2026-01-31,2026-01-31',
    '0712345670,+254 712 345 678,hakuna,-,46000.5,2026-02-28',
    '0712345671,Na,45987,100,,2026-03-31',
  ].join('\n')
  const { assets, faults } = await load(t, `${AGENT}caller: { file: c.csv }\n`, { 'c.csv': csv })
  if (assets?.callers == null) throw new Error('the list was not read')
  const { callers } = assets
  const values = (number: string) => findCaller(callers, number).values
  t.same(values('+254712345678'), {})
  t.same(values('+254712345679'), { renewal_date: '2026-01-31', since: '2026-01-31' })
  t.same(values('+254712345670'), { since: '2026-02-28' })
  t.same(values('+254712345671'), { name: 'Na', plan: '45987', balance: '100', since: '2026-03-31' })
  t.match(faults.join('\n'), /line 2: has in name a word for no value/)
  t.match(faults.join('\n'), /line 3 and 1 more: has in name a number where a name belongs/)
  t.match(faults.join('\n'), /line 2: has in plan an error of the spreadsheet/)
  t.match(faults.join('\n'), /line 2: has in since a date as the number of its day/)
  t.notMatch(faults.join('\n'), /712345679|46000|1\.23457|hakuna/, 'faults show no value of the file')
})

t.test('check refuses texts that read unknown caller fields', async (t) => {
  const faultsOf = async (more: string) => (await load(t, `${AGENT}${more}`)).faults
  t.match(await faultsOf(''), [/instructions reads \{\{caller\.name\}\}, but the agent has no caller section/])
  t.same(await faultsOf(`${TOOL}caller: { tool: lookup_customer }\n`), [])
  t.match(await faultsOf(`${TOOL}caller: { tool: lookup_customer }\ngreeting: "Hi {{caller.nam}}"\n`), [
    /greeting reads \{\{caller\.nam\}\}, which is not a field of the caller; .*name/,
  ])
  t.match(await faultsOf(`${TOOL}caller: { tool: lookup_customer, fields: [tier] }\n`), [
    /instructions reads \{\{caller\.name\}\}/,
  ])
  t.match(await faultsOf(`${TOOL}caller: { tool: lookup_customer }\napology: "Sorry {{caller.name}}"\n`), [
    /apology reads \{\{caller\.name\}\}, which has a value only in greeting, instructions/,
  ])
  t.match(await faultsOf(`${TOOL}caller: { tool: lookup_customer, language: tongue }\n`), [
    /caller\.language is tongue, which is not a field of the caller/,
  ])
  t.match(await faultsOf(`${TOOL}caller: { tool: lookup_customer, personal: [tier] }\n`), [
    /caller\.personal needs a verification section/,
  ])
  t.match(await faultsOf(`${TOOL}caller: { tool: lookup_customer, file: c.csv }\n`), [
    /caller has tool and file; allowed: one of them/,
  ])
  const declared = await load(t, `${AGENT}caller: { file: c.csv }\ngreeting: "Hi {{caller.nickname}}"\n`, {
    'c.csv': 'phone,name\n0712345678,Amina\n',
  })
  t.match(declared.faults, [/greeting reads \{\{caller\.nickname\}\}, which is not a field of the caller/])
})

const VERIFIES = `verification:
  account: { http: { url: 'https://shop.example', query: { phone: '{{call.from}}' } } }
  questions: [{ id: name, ask: Which name?, field: name }]
  required: 1
  identity: { account: id }
`

t.test('remembering callers needs verification', async (t) => {
  t.match((await load(t, `${AGENT}caller: { memory: true }\n`)).faults, [
    /caller\.memory is for verified callers only, but the agent has no verification section/,
  ])
})

t.test('an agent with memory reads the last values of facts', async (t) => {
  const stages = 'facts: { device: { ask: what is broken } }\nstages: { only: { instructions: Help., final: true } }\n'
  const faultsOf = async (greeting: string) =>
    (
      await load(
        t,
        `version: 1\nname: a\ninstructions: Help.\n${stages}${VERIFIES}caller: { memory: true }\ngreeting: "${greeting}"\n`,
      )
    ).faults
  t.same(await faultsOf('Hello. {{caller.last_device}} {{caller.last_outcome}} {{caller.last_days}}'), [])
  t.match(await faultsOf('Hello. {{caller.last_order}}'), [/greeting reads \{\{caller\.last_order\}\}.*last_device/])
  t.match((await load(t, `${AGENT}caller: {}\n`)).faults, [/caller needs tool, file or memory: true/])
})

t.test('a look-up tool only reads and is hidden from models', async (t) => {
  const faultsOf = async (tool: string, caller = 'tool: lookup_customer') =>
    (await load(t, `${AGENT}${tool}caller: { ${caller} }\n`)).faults
  t.match(await faultsOf(TOOL, 'tool: look_up'), [
    /caller\.tool is look_up, which is not a tool of this agent; .*lookup_customer/,
  ])
  t.match(await faultsOf(TOOL.replace('{ url:', '{ method: POST, url:')), [
    /caller\.tool is lookup_customer, which may change data/,
  ])
  t.match(await faultsOf(TOOL.replace(/    bind:.*\n/, '')), [
    /needs phone: bind it, for example to \{\{call\.from\}\}/,
  ])
  const { agent, assets } = await load(t, `${AGENT}${TOOL}caller: { tool: lookup_customer }\n`)
  if (agent === null) throw new Error('the agent has a fault')
  t.notOk(offeredTools(agent, assets).some(({ name }) => name === 'lookup_customer'))
})

t.test('a look-up keeps only short top-level values', async (t) => {
  const value = {
    name: 'A\nmina  ',
    tier: '',
    n: 5,
    vip: true,
    list: [1],
    nested: { a: 1 },
    'no name': 1,
    long: 'x'.repeat(500),
  }
  const { state, values } = callerAnswer({ ok: true, value }, '')
  t.equal(state, 'found')
  t.same(Object.keys(values), ['name', 'n', 'vip', 'long'])
  t.equal(values['name'], 'A mina')
  t.equal(String(values['long']).length, 200)
  t.match(callerAnswer({ ok: true, value: null }, ''), { state: 'unknown', values: {} })
  t.match(callerAnswer({ ok: false, value: { error: 'the tool failed' } }, ''), { state: 'failed', values: {} })
})
