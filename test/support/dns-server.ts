import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const HEADER_BYTES = 12
/** Type and class of the only supported question: the IPv4 addresses of a name. */
const A_IN = 0x0001_0001
const TTL_S = 1

interface DnsServer {
  readonly port: number
  close(): void
}

/**
 * Starts a name server on loopback. It answers with the IPv4 addresses from `addressesOf`, or with NXDOMAIN if there
 * are none.
 * @param answersAfterMs  delay in ms of each answer
 */
export async function startDns(
  addressesOf: (name: string) => readonly string[],
  answersAfterMs = 0,
): Promise<DnsServer> {
  const socket = createSocket('udp4')
  let open = true
  socket.on('message', (query, from) => {
    setTimeout(() => {
      if (open) socket.send(answerTo(query, addressesOf), from.port, from.address)
    }, answersAfterMs)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const close = (): void => {
    open = false
    socket.close()
  }
  return { port: socket.address().port, close }
}

function answerTo(query: Buffer, addressesOf: (name: string) => readonly string[]): Buffer {
  const labels: string[] = []
  let at = HEADER_BYTES
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const question = query.subarray(HEADER_BYTES, at + 5)
  const known = addressesOf(labels.join('.').toLowerCase())
  const addresses = query.readUInt32BE(at + 1) === A_IN ? known : []
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(query.readUInt16BE(0), 0)
  header.writeUInt16BE(known.length > 0 ? 0x8580 : 0x8583, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(addresses.length, 6)
  const records = addresses.map((address) => {
    const record = Buffer.alloc(16)
    record.writeUInt16BE(0xc000 + HEADER_BYTES, 0) // pointer to the name in the question
    record.writeUInt32BE(A_IN, 2)
    record.writeUInt32BE(TTL_S, 6)
    record.writeUInt16BE(4, 10)
    record.set(address.split('.').map(Number), 12)
    return record
  })
  return Buffer.concat([header, question, ...records])
}
