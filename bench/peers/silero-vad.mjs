// Silero VAD in the way in which LiveKit's agents run it in Node: onnxruntime, one inference for 32 ms.
import { initializeLogger } from '@livekit/agents'
import { VAD } from '@livekit/agents-plugin-silero'
import { AudioFrame } from '@livekit/rtc-node'
import { answer, material, time } from './micro-peer.mjs'

initializeLogger({ pretty: false, level: 'silent' })
const vad = await VAD.load()
const stream = vad.stream()
const frame = new AudioFrame(material(16000), 16000, 1, 320)
let inferences = 0
void (async () => {
  for await (const event of stream) if (event.type !== undefined) inferences++
})()
// 160 frames cause 100 inferences. The stream processes its queue later, so each round waits until the inferences for
// its frames are done.
const BATCH = 160
const us = (
  await time(async () => {
    const wanted = inferences + (BATCH * 20) / 32
    for (let i = 0; i < BATCH; i++) stream.pushFrame(frame)
    for (let waits = 0; inferences < wanted - 2 && waits < 2000; waits++)
      await new Promise((resolve) => setTimeout(resolve, 1))
  })
).map((batch) => batch / BATCH)
answer([{ name: 'Silero VAD of LiveKit agents', us }])
