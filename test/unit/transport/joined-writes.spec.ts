import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import type { MultiaddrConnection } from '@libp2p/interface'
import { encodeFrame } from '../../../src/codec/frame.ts'
import { joinWrites } from '../../../src/transport/joined-writes.ts'
import { Libp2pLab } from '../../support/libp2p-lab.ts'

const never = new AbortController().signal

/** As much of a list of pieces as matters. */
function listOf(...pieces: readonly Uint8Array[]): { byteLength: number; subarray: () => Uint8Array } {
  const joined = Buffer.concat(pieces)
  return { byteLength: joined.length, subarray: () => joined }
}

describe('joined writes', () => {
  it('are one for what is small, with what the socket says of it', () => {
    const written: number[] = []
    const connection = {
      socket: { write: (bytes: Uint8Array) => written.push(bytes.length) > 1 },
      sendData: (data: { byteLength: number }) => ({ sentBytes: -data.byteLength, canSendMore: true })
    }
    assert.ok(joinWrites(connection as unknown as MultiaddrConnection))
    const small = listOf(new Uint8Array(2), new Uint8Array(100))
    assert.deepEqual(connection.sendData(small), { sentBytes: 102, canSendMore: false })
    assert.deepEqual(connection.sendData(small), { sentBytes: 102, canSendMore: true })
    assert.deepEqual(written, [102, 102])
    // What is large goes the way it did.
    const large = listOf(new Uint8Array(2), new Uint8Array(20_000))
    assert.equal(connection.sendData(large).sentBytes, -20_002)
  })

  it('of any other connection are left alone', () => {
    assert.equal(joinWrites({} as MultiaddrConnection), false)
    assert.equal(joinWrites({ socket: {}, sendData: () => {} } as unknown as MultiaddrConnection), false)
  })

  for (const secret of [undefined, 'correct horse']) {
    it(`are one for a frame on a link${secret === undefined ? '' : ', with a secret'}`, async () => {
      const lab = new Libp2pLab({ secret })
      let writes = 0
      const onSocket = (message: unknown): void => {
        const { socket } = message as { socket: Socket }
        // A socket has its own method again when it connects.
        socket.prependOnceListener('connect', () => {
          const write = socket.write.bind(socket)
          socket.write = (...args: unknown[]): boolean => {
            writes++
            return (write as (...args: unknown[]) => boolean)(...args)
          }
        })
      }
      subscribe('net.client.socket', onSocket)
      try {
        const [a, b] = [await lab.create(), await lab.create()]
        await Promise.all([a.start(), b.start()])
        let received = 0
        b.on('link', link => {
          link.onFrame = () => received++
        })
        await a.connect(b.addresses[0]!, never)
        const link = await a.open(b.self, 'data', never)
        const counts: number[] = []
        // What libp2p says meanwhile, for itself, is counted as well: the least is that of the frame alone.
        for (let i = 1; i <= 10; i++) {
          writes = 0
          link.send(encodeFrame([{ type: 200, id: i, epoch: 0, body: new Uint8Array(100) }]))
          await lab.until(() => received === i, 'the frame')
          counts.push(writes)
        }
        assert.equal(Math.min(...counts), 1, String(counts))
      } finally {
        unsubscribe('net.client.socket', onSocket)
        await lab.close()
      }
    })
  }
})
