import assert from 'node:assert/strict'
import { yamux } from '@chainsafe/libp2p-yamux'
import type { Stream } from '@libp2p/interface'
import { multiaddrConnectionPair } from '@libp2p/utils'
import { spareWindowUpdates } from '../../../src/transport/window-updates.ts'

const WINDOW_BYTES = 256 * 1024

/** Two ends of a yamux stream, and how often either connection was written to. */
async function pair(spare: boolean): Promise<{ near: Stream; far: Stream; writes: () => number; close: () => void }> {
  const [outbound, inbound] = multiaddrConnectionPair()
  let writes = 0
  for (const connection of [outbound, inbound]) {
    const send = connection.send.bind(connection)
    connection.send = data => {
      writes++
      return send(data)
    }
  }
  const factory = yamux({ enableKeepAlive: false })()
  const [client, server] = [factory.createStreamMuxer(outbound), factory.createStreamMuxer(inbound)]
  const accepted = new Promise<Stream>(resolve => {
    server.addEventListener('stream', ({ detail }) => resolve(detail), { once: true })
  })
  const near = await client.createStream()
  const far = await accepted
  if (spare) for (const stream of [near, far]) assert.equal(spareWindowUpdates(stream), true)
  const close = (): void => {
    for (const connection of [outbound, inbound]) connection.abort(new Error('over'))
  }
  return { near, far, writes: () => writes, close }
}

/** Sends so many bytes in chunks, heeding the drain event; resolves when all have arrived. */
function transfer(from: Stream, to: Stream, bytes: number, chunkBytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = 0
    let sent = 0
    const send = (): void => {
      let free = true
      while (free && sent < bytes) {
        sent += chunkBytes
        free = from.send(new Uint8Array(chunkBytes))
      }
    }
    to.addEventListener('message', ({ data }) => {
      received += data.byteLength
      if (received >= bytes) resolve()
    })
    for (const stream of [from, to]) stream.addEventListener('close', () => reject(new Error('the stream closed')))
    from.addEventListener('drain', send)
    send()
  })
}

describe('sparing window updates', () => {
  it('saves most writes of small messages', async () => {
    const counts: number[] = []
    for (const spare of [false, true]) {
      const { near, far, writes, close } = await pair(spare)
      for (let i = 0; i < 100; i++) await transfer(near, far, 100, 100)
      counts.push(writes())
      close()
    }
    assert.ok(counts[1]! * 1.8 < counts[0]!, counts.join(' and '))
  })

  it('lets through any amount, in pieces of any size, both ways', async () => {
    for (const chunkBytes of [1000, WINDOW_BYTES / 2, WINDOW_BYTES, WINDOW_BYTES + 1, 3_000_000]) {
      const { near, far, close } = await pair(true)
      const bytes = Math.max(20 * WINDOW_BYTES, 2 * chunkBytes)
      await Promise.all([transfer(near, far, bytes, chunkBytes), transfer(far, near, bytes, chunkBytes)])
      close()
    }
  })

  it('leaves a stream of another kind as it is', () => {
    const stream = { sendWindowUpdate: 'no function' } as unknown as Stream
    assert.equal(spareWindowUpdates(stream), false)
  })
})
