import { encodeALaw, encodeMuLaw } from '../../src/media/pcm.js'
import type { SampleFormat } from '../../src/media/wav.js'

const TAGS = { integer: 1, float: 3, pcma: 6, pcmu: 7 } as const

interface FileOptions extends Omit<SampleFormat, 'channels'> {
  /** Each with the same sound. */
  readonly channels?: number
  readonly id?: 'RIFF' | 'RF64' | 'BW64'
  /** In place of the true size. */
  readonly dataBytes?: number
  /** Behind the format, as bytes. */
  readonly between?: Uint8Array
  readonly after?: Uint8Array
}

/** A WAV file as other programs write it. */
export function wavFile(options: FileOptions, sound: Int16Array): Uint8Array {
  const {
    encoding,
    bits,
    rateHz,
    channels = 1,
    id = 'RIFF',
    between = new Uint8Array(0),
    after = new Uint8Array(0),
  } = options
  const width = bits / 8
  const data = new Uint8Array(sound.length * channels * width)
  const view = new DataView(data.buffer)
  const coded = new Uint8Array(sound.length)
  if (encoding === 'pcma') encodeALaw(sound, coded)
  if (encoding === 'pcmu') encodeMuLaw(sound, coded)
  sound.forEach((sample, i) => {
    for (let channel = 0; channel < channels; channel++) {
      const at = (i * channels + channel) * width
      if (encoding === 'pcma' || encoding === 'pcmu') data[at] = coded[i] ?? 0
      else if (encoding === 'float' && bits === 64) view.setFloat64(at, sample / 32768, true)
      else if (encoding === 'float') view.setFloat32(at, sample / 32768, true)
      else if (bits === 8) data[at] = (sample >> 8) + 128
      else view.setInt16(at + width - 2, sample, true)
    }
  })
  const ds64 = new Uint8Array(id === 'RIFF' ? 0 : 36)
  if (id !== 'RIFF') {
    ds64.set(new TextEncoder().encode('ds64'))
    new DataView(ds64.buffer).setUint32(4, 28, true)
    new DataView(ds64.buffer).setBigUint64(16, BigInt(data.length), true)
  }
  const head = new Uint8Array(12 + ds64.length + 24 + between.length + 8)
  const headView = new DataView(head.buffer)
  const text = (at: number, word: string): void => head.set(new TextEncoder().encode(word), at)
  text(0, id)
  headView.setUint32(4, id === 'RIFF' ? head.length - 8 + data.length : 0xffffffff, true)
  text(8, 'WAVE')
  head.set(ds64, 12)
  const at = 12 + ds64.length
  text(at, 'fmt ')
  headView.setUint32(at + 4, 16, true)
  headView.setUint16(at + 8, TAGS[encoding], true)
  headView.setUint16(at + 10, channels, true)
  headView.setUint32(at + 12, rateHz, true)
  headView.setUint32(at + 16, rateHz * channels * width, true)
  headView.setUint16(at + 20, channels * width, true)
  headView.setUint16(at + 22, bits, true)
  head.set(between, at + 24)
  text(head.length - 8, 'data')
  headView.setUint32(head.length - 4, options.dataBytes ?? (id === 'RIFF' ? data.length : 0xffffffff), true)
  const file = new Uint8Array(head.length + data.length + after.length)
  file.set(head)
  file.set(data, head.length)
  file.set(after, head.length + data.length)
  return file
}
