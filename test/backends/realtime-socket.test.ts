import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import { RealtimeSocket } from '../../src/backends/transport/vendor-connection.js'
import { until } from '../support/until.js'
import { SocketRecorder, MIB, TEXT, frame, open, serve, serveBytes, texts, write } from './socket-peers.js'

/** An open socket to a service that writes bytes. */
async function openBytes(t: Test): Promise<{ readonly recorder: SocketRecorder; readonly service: Socket }> {
  let service: Socket | null = null
  const url = await serveBytes(t, [], (upgraded) => {
    service = upgraded
  })
  const { recorder } = open(t, url)
  await until(() => recorder.open && service !== null, 5000, 'the socket to open')
  return { recorder, service: service as unknown as Socket }
}

t.test('messages of any length are sent and received unchanged', async (t) => {
  const url = await serve(t, (peer) => peer.on('message', (data, binary) => peer.send(data as Buffer, { binary })))
  const { socket, recorder } = open(t, url)
  await until(() => recorder.open, 5000, 'the socket to open')
  const wanted = [
    ...texts([0, 1, 125, 126, 127, 128, 3888, 65_531, 65_535, 65_536, 65_537, MIB, 2 * MIB, 126, 5]),
    'sawa, tutaonana: ü €'.repeat(20),
  ]
  for (const [i, text] of wanted.entries()) {
    socket.send(text)
    // Four at a time, so that some come together.
    if (i % 4 === 3) await until(() => recorder.messages.length === i + 1, 10_000, 'four to come back')
  }
  await until(() => recorder.messages.length === wanted.length, 10_000, 'all to come back')
  t.same(
    recorder.messages.map((text) => text.length),
    wanted.map((text) => text.length),
  )
  t.ok(recorder.messages.every((text, i) => text === wanted[i]))
})

t.test('a whole message is read in place, others are copied', async (t) => {
  let peer: WebSocket | null = null
  const url = await serve(t, (connected) => {
    peer = connected
  })
  const { recorder } = open(t, url)
  await until(() => recorder.open && peer !== null, 5000, 'the socket to open')
  const service = peer as unknown as WebSocket
  for (let i = 0; i < 20; i++) {
    service.send(`message ${i} ${'x'.repeat(4000)}`)
    await until(() => recorder.messages.length === i + 1, 5000, 'it to come')
  }
  t.ok(
    recorder.inPlace.filter(Boolean).length >= 18,
    `${recorder.inPlace.filter(Boolean).length} of 20 were read in place`,
  )
  service.send('y'.repeat(MIB))
  await until(() => recorder.messages.length === 21, 5000, 'the long one')
  t.notOk(recorder.inPlace[20])
  t.equal(recorder.messages[20], 'y'.repeat(MIB))
})

t.test('messages, pings and fragments in one read stay in order', async (t) => {
  const wanted: string[] = []
  const pongs: string[] = []
  let peer: WebSocket | null = null
  const url = await serve(t, (connected) => {
    peer = connected
    connected.on('pong', (data) => pongs.push(data.toString()))
  })
  const { recorder } = open(t, url)
  await until(() => recorder.open && peer !== null, 5000, 'the socket to open')
  const say = (service: WebSocket): void => {
    // Written by `ws`, but all at once.
    const socket = (service as unknown as { readonly _socket: Socket })._socket
    socket.cork()
    for (let i = 0; i < 60; i++) {
      const text = `${i}:${'z'.repeat((i * 37) % 400)}`
      wanted.push(text)
      if (i % 7 === 3) service.ping(`p${i}`)
      if (i % 5 === 4) {
        service.send(text.slice(0, 2), { fin: false, binary: false })
        if (i % 2 === 0) service.ping('within')
        service.send(text.slice(2), { fin: true, binary: false })
      } else {
        service.send(Buffer.from(text), { binary: i % 2 === 0 })
      }
    }
    socket.uncork()
  }
  say(peer as unknown as WebSocket)
  await until(() => recorder.messages.length === wanted.length, 5000, 'all to come')
  t.same(recorder.messages, wanted)
  t.ok(recorder.inPlace.includes(true) && recorder.inPlace.includes(false), 'in place and through ws')
  await until(() => pongs.length === 15, 5000, 'every ping to be answered')
})

t.test('a message split anywhere arrives whole', async (t) => {
  const text = `{"type":"response.output_audio.delta","delta":"${'A'.repeat(100)}"}`
  const bytes = frame(TEXT, text)
  const { recorder, service } = await openBytes(t)
  for (let cut = 1; cut < bytes.length; cut++) {
    await write(service, bytes.subarray(0, cut))
    await write(service, Buffer.concat([bytes.subarray(cut), frame(TEXT, `behind ${cut}`)]))
  }
  const sent = 2 * (bytes.length - 1)
  await until(() => recorder.messages.length === sent, 5000, 'all to come')
  t.ok(recorder.messages.every((message, i) => message === (i % 2 === 0 ? text : `behind ${(i + 1) / 2}`)))
  t.ok(recorder.inPlace.filter(Boolean).length > sent / 4, 'most of the next ones were read in place')
})

t.test('messages that arrive with the upgrade response are delivered first', async (t) => {
  const first = [frame(TEXT, 'one'), frame(TEXT, 'two'), frame(TEXT, 'three'.repeat(60))]
  const all = Buffer.concat(first)
  for (const cut of [0, 1, 2, 5, 9, all.length - 1, all.length]) {
    let peer: Socket | null = null
    const url = await serveBytes(t, [all.subarray(0, cut)], (upgraded) => {
      peer = upgraded
    })
    const { socket, recorder } = open(t, url)
    await until(() => recorder.open && peer !== null, 5000, 'the socket to open')
    const service = peer as unknown as Socket
    if (cut < all.length) await write(service, all.subarray(cut))
    await until(() => recorder.messages.length === 3, 5000, `three messages, cut at ${cut}`)
    await write(service, frame(TEXT, 'later'))
    await until(() => recorder.messages.length === 4, 5000, `one more, cut at ${cut}`)
    t.same(recorder.messages, ['one', 'two', 'three'.repeat(60), 'later'], `cut at ${cut}`)
    t.equal(recorder.inPlace[3], true, 'frames are still followed')
    socket.close(1000)
  }
})

t.test('a protocol violation ends the socket', async (t) => {
  const masked = frame(TEXT, 'masked')
  masked[1] = 0x80 | 6
  for (const wrong of [
    masked,
    frame(0xc1, 'deflated'),
    frame(0x83, 'an opcode that is none'),
    frame(0x80, 'of nothing'),
  ]) {
    const { recorder, service } = await openBytes(t)
    service.write(Buffer.concat([frame(TEXT, 'before'), wrong, frame(TEXT, 'behind')]))
    await until(() => recorder.closed !== null, 5000, 'the end')
    t.same(recorder.messages, ['before'])
    t.equal(recorder.closed?.failure?.kind, 'broken')
  }
})

t.test('a close frame ends the socket with its code', async (t) => {
  const { recorder, service } = await openBytes(t)
  const close = Buffer.concat([Buffer.from([0x88, 7, 0x0f, 0xa1]), Buffer.from('enoug')])
  service.end(Buffer.concat([frame(TEXT, 'before'), close, frame(TEXT, 'behind')]))
  await until(() => recorder.closed !== null, 5000, 'the end')
  t.same(recorder.messages, ['before'])
  t.same(recorder.closed, { code: 4001, reason: 'enoug', failure: null })
})

t.test('a socket closed by its listener delivers nothing more', async (t) => {
  let service: Socket | null = null
  const url = await serveBytes(t, [], (upgraded) => {
    service = upgraded
  })
  const recorder = new SocketRecorder()
  const socket: RealtimeSocket = new RealtimeSocket(
    url,
    { headers: {}, pingMs: 60_000 },
    {
      ...recorder.listener,
      message: (data) => {
        recorder.listener.message(data)
        socket.close(1000)
      },
    },
  )
  await until(() => recorder.open && service !== null, 5000, 'the socket to open')
  const together = [frame(TEXT, 'a'), frame(TEXT, 'b'), frame(0x89, 'ping'), frame(TEXT, 'c')]
  ;(service as unknown as Socket).write(Buffer.concat(together))
  await until(() => recorder.closed !== null, 5000, 'the end')
  t.equal(recorder.messages[0], 'a')
  t.equal(recorder.closed?.failure, null)
})

t.test('a service that stops reading gets every message later', async (t) => {
  const heard: string[] = []
  let peer: WebSocket | null = null
  const url = await serve(t, (connected) => {
    peer = connected
    connected.on('message', (data) => heard.push((data as Buffer).toString()))
  })
  const { socket, recorder } = open(t, url)
  await until(() => recorder.open && peer !== null, 5000, 'the socket to open')
  const service = peer as unknown as WebSocket
  service.pause()
  const wanted: string[] = []
  const say = (): void => {
    const text = `${wanted.length} `.padEnd(4000, '.')
    wanted.push(text)
    socket.send(text)
  }
  while (!socket.congested && wanted.length < 10_000) {
    say()
    if (wanted.length % 100 === 0) await turnOfEventLoop()
  }
  t.ok(socket.congested, `after ${wanted.length} messages the socket says that audio should wait`)
  for (let i = 0; i < 5; i++) say()
  service.resume()
  await until(() => heard.length === wanted.length, 20_000, 'all to arrive')
  t.ok(heard.every((text, i) => text === wanted[i]))
  await until(() => !socket.congested, 5000, 'the socket to be free')
  say()
  await until(() => heard.length === wanted.length, 5000, 'one more')
  t.equal(heard.at(-1), wanted.at(-1))
})

t.test('a half-open connection is detected', async (t) => {
  const url = await serveBytes(t, [frame(TEXT, 'hello')], () => undefined)
  const { recorder } = open(t, url, 40)
  await until(() => recorder.closed !== null, 5000, 'the end')
  t.same(recorder.messages, ['hello'])
  t.same(recorder.closed?.failure, { kind: 'half-open' })
})

t.test('a service that sends messages without pongs stays connected', async (t) => {
  const url = await serveBytes(t, [], (peer) => {
    const timer = setInterval(() => peer.write(frame(TEXT, 'talk')), 15)
    peer.on('close', () => clearInterval(timer))
  })
  const { recorder } = open(t, url, 40)
  await until(() => recorder.messages.length > 20, 5000, 'some talk')
  t.equal(recorder.closed, null)
})

t.test('a service that sends without end is cut off [1]', async (t) => {
  const sent = 200_000
  for (const say of [
    (peer: WebSocket) => peer.send('{"type":"delta","delta":"a"}'),
    (peer: WebSocket) => peer.ping(),
  ]) {
    const url = await serve(t, (peer) => {
      for (let at = 0; at < sent; at++) say(peer)
    })
    const { recorder } = open(t, url)
    await until(() => recorder.closed !== null, 60_000, 'the end')
    t.match(recorder.closed, { failure: { kind: 'overrun' } })
    t.ok(recorder.messages.length < sent / 2, `${recorder.messages.length} were read`)
  }
})

t.test('four minutes of speech at once are read completely', async (t) => {
  const frames = 3000
  const long = 12
  const url = await serve(t, (peer) => {
    for (let at = 0; at < frames; at++) peer.send('a'.repeat(1300))
    for (let at = 0; at < long; at++) peer.send('b'.repeat(MIB))
  })
  const { recorder } = open(t, url)
  await until(() => recorder.messages.length === frames + long || recorder.closed !== null, 60_000, 'all of it')
  t.equal(recorder.closed, null)
})
