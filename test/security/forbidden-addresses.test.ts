import t from 'tap'
import { mayConnect } from '../../src/http/address-guard.js'
import { api, context, json, runner } from '../agents/tool-rig.js'

/**
 * The attack: the name of a tool's host, or a redirect, leads into the network behind the gateway or to where a cloud
 * keeps the machine's credentials, written in one of the forms in which IPv6 carries IPv4.
 */
const CLOUDS: Record<string, string> = {
  'AWS, Azure, Google, Oracle, DigitalOcean': '169.254.169.254',
  'AWS containers': '169.254.170.2',
  'AWS pods': '169.254.170.23',
  Scaleway: '169.254.42.42',
  Tencent: '169.254.0.23',
  Alibaba: '100.100.100.200',
  'Azure WireServer': '168.63.129.16',
  'Oracle Classic': '192.0.0.192',
}
const CLOUDS_V6: Record<string, string> = {
  AWS: 'fd00:ec2::254',
  'AWS pods': 'fd00:ec2::23',
  Google: 'fd20:ce::254',
  Oracle: 'fd00:c1::a9fe:a9fe',
  Linode: 'fd00:a9fe:a9fe::1',
  Scaleway: 'fd00:42::42',
  OpenStack: 'fe80::a9fe:a9fe',
  'with a zone': 'fe80::a9fe:a9fe%eth0',
}

/** An IPv4 address in each form of IPv6 that carries one. */
function formsOf(ipv4: string): Record<string, string> {
  const bytes = ipv4.split('.').map(Number)
  const hex = (list: readonly number[]): string => list.map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const [high, low] = [hex(bytes.slice(0, 2)), hex(bytes.slice(2))]
  const turned = bytes.map((byte) => byte ^ 0xff)
  const [b0 = 0, b1 = 0, b2 = 0, b3 = 0] = bytes
  return {
    'as it is': ipv4,
    mapped: `::ffff:${ipv4}`,
    'mapped, in hex': `::ffff:${high}:${low}`,
    'mapped, in full': `0:0:0:0:0:ffff:${high}:${low}`,
    compatible: `::${high}:${low}`,
    translated: `::ffff:0:${ipv4}`,
    'translated, in hex': `::ffff:0:${high}:${low}`,
    NAT64: `64:ff9b::${ipv4}`,
    'NAT64, local, at the end': `64:ff9b:1::${high}:${low}`,
    'NAT64, local, /48': `64:ff9b:1:${hex([b0, b1])}:${hex([0, b2])}:${hex([b3, 0])}::`,
    '6to4': `2002:${high}:${low}::1`,
    'Teredo, as its client': `2001:0:4136:e378:8000:63bf:${hex(turned.slice(0, 2))}:${hex(turned.slice(2))}`,
    'Teredo, as its server': `2001:0:${high}:${low}:8000:63bf:3fff:fdd2`,
    ISATAP: `2606:4700::5efe:${high}:${low}`,
    'ISATAP, universal': `2606:4700::200:5efe:${high}:${low}`,
  }
}

t.test('no policy lets a tool reach cloud credentials', async (t) => {
  for (const policy of ['public', 'private', 'as-written'] as const) {
    for (const [cloud, address] of Object.entries(CLOUDS)) {
      for (const [form, written] of Object.entries(formsOf(address)))
        t.notOk(mayConnect(written, policy), `${cloud}, ${form}: ${written}, ${policy}`)
      const tail = formsOf(address)['mapped, in hex']?.slice('::ffff:'.length) ?? ''
      t.notOk(
        mayConnect(`2606:4700:64::${tail}`, policy),
        `${cloud}, behind a NAT64 prefix of the network's own, ${policy}`,
      )
    }
    for (const [cloud, address] of Object.entries(CLOUDS_V6))
      t.notOk(mayConnect(address, policy), `${cloud}: ${address}, ${policy}`)
  }
})

t.test('a public tool reaches no internal address', async (t) => {
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '198.18.0.1',
    '192.0.2.1',
  ]) {
    for (const [form, written] of Object.entries(formsOf(address))) {
      t.notOk(mayConnect(written, 'public'), `${form}: ${written}`)
    }
  }
  for (const address of [
    '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    '::ffff:0:8.8.8.8',
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::1',
    '2002:808:808::1', // to wherever their relay sends it
    'fec0::1',
    'feff::1',
    'fc00::1',
    'fdff::1',
    'fe80::1',
    'ff02::1',
    '::1',
    '::',
    '100::1',
    '2001:db8::1',
    '2001:2::1',
    '3fff::1',
    '5f00::1',
    '4000::1',
    '::2',
    '',
    'localhost',
    '127.1',
    '0x7f000001',
    '2130706433',
    '8.8.8.8:80',
    '::ffff:127.0.0.1:80',
  ])
    t.notOk(mayConnect(address, 'public'), address)
  for (const address of [
    '8.8.8.8',
    '102.0.0.1',
    '::ffff:8.8.8.8',
    '2606:4700::1111',
    '2a00:1450:4001::1',
    '2001:4860:4860::8888',
  ])
    t.ok(mayConnect(address, 'public'), address)
})

t.test('allowPrivate permits only private addresses', async (t) => {
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '198.18.0.1',
    '::1',
    'fd12::1',
    'fec0::1',
    '::ffff:10.0.0.1',
    '64:ff9b::10.0.0.1',
    '8.8.8.8',
    '2606:4700::1111',
  ])
    t.ok(mayConnect(address, 'private'), address)
  for (const address of [
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '240.0.0.1',
    'fe80::1',
    'ff02::1',
    '::',
    '64:ff9b::0.0.0.1',
    '2002:e000:1::1',
    '100::1',
    '4000::1',
  ]) {
    t.notOk(mayConnect(address, 'private'), address)
  }
})

t.test('literal and redirected addresses are checked before connecting', async (t) => {
  const { url: here } = await api(t, (request, response) => {
    const to = new URL(request.url ?? '/', 'http://x').searchParams.get('to')
    if (to === null) json(response, {})
    else response.writeHead(302, { location: to }).end()
  })
  const run = (http: Readonly<Record<string, unknown>> & { readonly url: string }): Promise<unknown> =>
    runner(t, { http: { timeoutMs: 2000, allowPrivate: true, ...http } }).run('look_up', {}, context())
  t.match(await run({ url: here }), { ok: true }, 'what was written out is meant')
  for (const host of [
    '169.254.169.254',
    '0xa9fea9fe',
    '[fd00:ec2::254]',
    '[::ffff:169.254.169.254]',
    '[::ffff:0:a9fe:a9fe]',
    '100.100.100.200',
  ]) {
    t.match(await run({ url: `http://${host}/latest/meta-data` }), { ok: false, code: 'TOOL_FORBIDDEN_HOST' }, host)
  }
  for (const host of ['169.254.169.254', '[fd00:ec2::254]']) {
    t.match(
      await run({ url: here, query: { to: `http://${host}/latest` }, allowHosts: [host] }),
      { ok: false, code: 'TOOL_FORBIDDEN_HOST' },
      `a redirect to ${host}`,
    )
  }
})
