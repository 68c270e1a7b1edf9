import t from 'tap'
import { ClientAddresses, parseNetwork } from '../../src/edge/client-address.js'

const addresses = new ClientAddresses(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32'])

t.test('the client is the last hop that is no trusted proxy', (t) => {
  const cases: readonly (readonly [peer: string, forwarded: string, client: string])[] = [
    ['203.0.113.1', '198.51.100.1', '203.0.113.1'], // no proxy of ours: its header is not even asked for
    ['10.1.2.3', '198.51.100.1', '198.51.100.1'],
    ['10.1.2.3', '198.51.100.1, 203.0.113.1', '203.0.113.1'],
    ['10.1.2.3', '203.0.113.1, 10.9.9.9, 192.0.2.7', '203.0.113.1'],
    ['10.1.2.3', '10.9.9.9', '10.9.9.9'], // trusted all the way: the first of them
    ['10.1.2.3', '', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, unknown', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, _hidden, 10.9.9.9', '10.9.9.9'],
    ['10.1.2.3', '203.0.113.1:50123', '203.0.113.1'],
    ['10.1.2.3', '[2001:4860::1]:50123', '2001:4860::/64'],
    ['10.1.2.3', '2001:4860:0:1:2:3:4:5', '2001:4860:0:1::/64'],
    ['10.1.2.3', '010.0.0.1', '10.1.2.3'], // octal to some, decimal to others
    ['10.1.2.3', '0x7f000001', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, 10.1', '10.1.2.3'],
    ['0000:0000:0000:0000:0000:ffff:0a01:0203', '203.0.113.1', '203.0.113.1'], // IPv4 on a socket for both
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '::ffff:203.0.113.1', '203.0.113.1'],
    ['0000:0000:0000:0000:0000:0000:0000:0001', '203.0.113.1', '::/64'],
    ['192.0.2.8', '203.0.113.1', '192.0.2.8'],
    ['10.1.2.3', `203.0.113.1${', 10.0.0.1'.repeat(100)}`, '10.0.0.1'], // no more hops than the bound
  ]
  for (const [peer, forwarded, client] of cases)
    t.equal(
      addresses.client(peer, () => forwarded),
      client,
      `${peer} < ${forwarded.slice(0, 60)}`,
    )
  new ClientAddresses([]).client('203.0.113.1', () => {
    throw new Error('asked for a header that nobody may have written')
  })
  t.end()
})

t.test('networks are addresses with or without a length, and never everything', (t) => {
  for (const good of [
    '10.0.0.0/8',
    '10.1.2.3',
    '10.1.2.3/32',
    '0.0.0.0/1',
    '::1',
    '2001:db8::/32',
    'fd00::/8',
    '::1/128',
  ])
    t.ok(parseNetwork(good), good)
  for (const bad of [
    '',
    'proxy.example.com',
    '10.0.0.0/33',
    '10.0.0.0/0',
    '::/0',
    '10.0.0.0/',
    '10.0.0/8',
    '010.0.0.0/8',
    '10.0.0.0/8/8',
    '10.0.0.0/+8',
    '::1/129',
    '::ffff:10.0.0.0/104',
    'fe80::1%eth0',
    '10.0.0.0 /8',
    '*',
  ])
    t.equal(parseNetwork(bad), undefined, bad)
  t.throws(() => new ClientAddresses(['nonsense']), { message: "'nonsense' is no network" })
  t.end()
})
