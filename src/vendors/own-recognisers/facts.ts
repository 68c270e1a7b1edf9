import { SOCKET_OR_HTTP, optional } from '../../core/setting.js'
import { atAddress, vendor } from '../vendor.js'

export const ownRecognisers = vendor({
  folder: 'own-recognisers',
  title: "recognisers of one's own",
  settings: {
    voskUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: 'The address of a vosk-server, a recogniser of the backend cascade.',
    }),
    sherpaUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: 'The address of the online WebSocket server of sherpa-onnx, a recogniser of the backend cascade.',
    }),
  },
  services: {
    stt: {
      vosk: {
        about: 'a stream: vosk-server; a connection for each turn',
        changes: 'changes nothing but what its model was trained on',
        needs: 'VOSK_URL',
        lacks: 'does not report the language of the caller, and does not accept terms',
        // The server uses the model with which it was started. This name is used for prices only.
        own: { model: 'vosk' },
        options: {},
        settings: ({ voskUrl }) => atAddress(voskUrl),
      },
      sherpa: {
        about: 'a stream: the online WebSocket server of sherpa-onnx; a connection for each turn',
        changes: 'changes nothing but what its model was trained on',
        needs: 'SHERPA_URL',
        lacks: 'does not report the language of the caller, and does not accept terms',
        own: { model: 'sherpa-onnx' },
        options: {},
        settings: ({ sherpaUrl }) => atAddress(sherpaUrl),
      },
    },
  },
  doubles: {
    vosk: { what: 'vosk-server, a recogniser', port: 7741, parts: ['STT'] },
    sherpa: { what: 'the online WebSocket server of sherpa-onnx, a recogniser', port: 7751, parts: ['STT'] },
  },
})
