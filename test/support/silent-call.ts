import { once } from 'node:events'
import { WebSocket } from 'ws'

/**
 * Calls the agent `light` of a gateway without a webhook secret. The caller sends silence until the socket is gone.
 * @param url  address of the gateway
 */
export async function silentCall(url: string, callSid: string): Promise<WebSocket> {
  const answer = await fetch(`${url}/voice/light`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      sessionId: callSid,
      callerNumber: '+254700000001',
      destinationNumber: '+254709000000',
      callSessionState: 'Ringing',
      direction: 'inbound',
    }),
  })
  const audioUrl = /url="([^"]+)"/.exec(await answer.text())?.[1]?.replaceAll('&amp;', '&') ?? 'ws://no.url'
  const socket = new WebSocket(audioUrl, ['audio.drachtio.org'])
  await once(socket, 'open')
  const timer = setInterval(() => socket.send(Buffer.alloc(640)), 20)
  socket.on('close', () => clearInterval(timer))
  socket.on('error', () => clearInterval(timer))
  return socket
}
