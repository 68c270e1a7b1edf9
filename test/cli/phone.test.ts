import t from 'tap'
import { renderUnicodeCompact } from 'uqr'
import { PhoneSettings } from '../../src/cli/phone-settings.js'
import { welcome } from '../../src/cli/phone.js'
import { parseXml } from '../support/xml-tree.js'

const ACCOUNTS = [
  { user: '200', number: '+254700000001', password: 'abcdefghijkm' },
  { user: '201', number: '+254720000010', password: 'npqrstuvwxyz' },
]
const ON_LOOPBACK = { version: '22.10.1', server: '127.0.0.1:5060', accounts: ACCOUNTS, opsPort: 9464 }
const URLS = ['http://192.0.2.2:40000/aaaaaaaaaaaaaaaaaaaaaa', 'http://192.0.2.2:40000/bbbbbbbbbbbbbbbbbbbbbb']
const ON_A_NETWORK = { ...ON_LOOPBACK, server: '192.0.2.2:5060', urls: URLS }

t.test('accounts, console and the way to stop are printed', (t) => {
  const text = welcome({ ...ON_LOOPBACK, urls: [], columns: 80 })
  t.equal(
    text,
    `Asterisk 22.10.1, exchange and gateway run.

Call 100 with any SIP phone: server 127.0.0.1:5060 (UDP), user 200, password abcdefghijkm
A second phone is the human:  server 127.0.0.1:5060 (UDP), user 201, password npqrstuvwxyz

Console: http://127.0.0.1:9464/
Ctrl-C stops all of it.
`,
  )
  t.end()
})

t.test('each account on a network has its QR code', (t) => {
  const text = welcome({ ...ON_A_NETWORK, columns: 80 })
  for (const url of URLS) {
    const code = renderUnicodeCompact(url, { border: 2 })
    t.ok(text.includes(code), 'the code of the address')
    t.ok(
      code.split('\n').every((line) => line.length <= 45),
      'which fits into a terminal',
    )
    t.ok(text.includes(`remote provisioning: ${url}\n`), 'and the address itself')
  }
  t.ok(text.indexOf('user 200') < text.indexOf(URLS[0] ?? '') && text.indexOf('user 201') < text.indexOf(URLS[1] ?? ''))
  t.end()
})

t.test('a narrow terminal gets addresses without QR codes', (t) => {
  const text = welcome({ ...ON_A_NETWORK, columns: 30 })
  t.notMatch(text, /[▀▄█]/)
  t.ok(URLS.every((url) => text.includes(url)))
  t.match(welcome({ ...ON_A_NETWORK, columns: null }), /█/, 'a pipe has no width')
  t.end()
})

t.test('account settings need their secret address', async (t) => {
  const settings = await PhoneSettings.start('127.0.0.1', '127.0.0.1:5060', ACCOUNTS)
  t.teardown(() => settings.close())
  const [first = '', second = ''] = settings.urls
  t.match(first, /\/[\w-]{22}$/, '128 random bits')
  t.not(first, second)
  for (const [i, url] of [first, second].entries()) {
    const answer = await fetch(url)
    t.equal(answer.status, 200)
    const text = await answer.text()
    parseXml(text)
    const { user = '', password = '' } = ACCOUNTS[i] ?? {}
    const entry = (name: string): string | undefined => new RegExp(`name="${name}"[^>]*>([^<]*)<`).exec(text)?.[1]
    t.equal(entry('reg_proxy'), '&lt;sip:127.0.0.1:5060;transport=udp&gt;')
    t.equal(entry('reg_identity'), `sip:${user}@127.0.0.1`)
    t.same([entry('username'), entry('passwd'), entry('realm')], [user, password, 'asterisk'])
  }
  for (const url of [`${first}0`, first.slice(0, -1), new URL('/', first).href])
    t.equal((await fetch(url)).status, 404, url)
  t.equal((await fetch(first, { method: 'POST' })).status, 404)
})
