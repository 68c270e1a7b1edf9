import type { lookup } from 'node:dns'
import t from 'tap'
import { guardedLookup, mayConnect, policyFor } from '../../src/http/address-guard.js'

t.test('a public tool reaches the public internet only', async (t) => {
  for (const address of ['8.8.8.8', '102.0.0.1', '2606:4700::1111', '::ffff:8.8.8.8'])
    t.ok(mayConnect(address, 'public'), address)
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '100.64.0.1',
    '0.0.0.0',
    '169.254.169.254',
    '224.0.0.1',
    '255.255.255.255',
    '198.18.0.1',
    '::1',
    '::',
    'fc00::1',
    'fd12::1',
    'fe80::1',
    'fe80::1%eth0',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:a00:1',
    '::7f00:1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
    'not an address',
    '',
  ])
    t.notOk(mayConnect(address, 'public'), address)
})

t.test("allowPrivate opens the inside, and still not the cloud's credentials", async (t) => {
  for (const address of ['127.0.0.1', '10.1.2.3', '192.168.1.1', '::1', 'fd12::1', '::ffff:10.0.0.1'])
    t.ok(mayConnect(address, 'private'), address)
  for (const address of ['169.254.169.254', '::ffff:169.254.169.254', 'fe80::1', '0.0.0.0', '224.0.0.1'])
    t.notOk(mayConnect(address, 'private'), address)
})

t.test('what the operator wrote out is meant; a name is checked', async (t) => {
  t.equal(policyFor('127.0.0.1', false), 'as-written')
  t.equal(policyFor('[::1]', false), 'as-written')
  t.equal(policyFor('localhost', false), 'as-written')
  t.equal(policyFor('shop.example', false), 'public')
  t.equal(policyFor('shop.internal', true), 'private')
})

t.test('a name is checked by what it resolves to at the moment of connecting', async (t) => {
  type Answer = (error: null, found: object[]) => void
  const answering = (...addresses: string[]): typeof lookup =>
    ((_host: string, _options: object, callback: Answer) => {
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      )
    }) as unknown as typeof lookup // the one overload that the guard uses
  const ask = (resolver: typeof lookup, all: boolean): Promise<unknown> =>
    new Promise((resolve, reject) => {
      guardedLookup('public', resolver)('shop.example', { all }, (error, address) => {
        if (error === null) resolve(address)
        else reject(error)
      })
    })
  t.same(await ask(answering('8.8.8.8', '10.0.0.1'), true), [{ address: '8.8.8.8', family: 4 }])
  t.equal(await ask(answering('10.0.0.1', '8.8.8.8'), false), '8.8.8.8')
  for (const all of [true, false]) {
    await t.rejects(ask(answering('10.0.0.1', '::1'), all), {
      code: 'TOOL_FORBIDDEN_HOST',
      message: /resolves to no address that this tool may reach/,
    })
  }
})
