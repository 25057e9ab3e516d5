import assert from 'node:assert/strict'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import type { Node } from 'kilovolt'
import { freePort } from '../support/free-port.ts'
import { NodeLab } from '../support/node-lab.ts'

describe('a store that was copied', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  it('does not run beside the original: all turn away the one that began later, and say which', async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort(), freePort()])
    const addresses = ports.map(port => `/ip4/127.0.0.1/tcp/${port}`)
    const [list, place] = [addresses.slice(0, 3), addresses.slice(3)]
    const folders = list.map(() => lab.folder())
    const start = (i: number): Promise<Node> =>
      lab.start({ bootstrap: list, listen: [list[i]!], storage: new ClassicLevel(folders[i]!) })
    const nodes = await Promise.all(folders.map((_, i) => start(i)))
    await nodes[0]!.settled()
    await nodes[2]!.stop()
    const copied = join(lab.folder(), 'copy')
    cpSync(folders[2]!, copied, { recursive: true })
    nodes[2] = await start(2)
    await nodes[2].settled()
    const told = new Set<number>()
    for (const i of [0, 1]) {
      nodes[i]!.addEventListener('link:refused', ({ detail: { error } }) => {
        if (error.code !== 'KV_HANDSHAKE' || !/two processes run as the store/u.test(error.message)) return
        for (const port of [ports[2], ports[3]]) assert.ok(error.message.includes(`tcp/${port}`), error.message)
        told.add(i)
      })
    }
    const copy = await lab.start({ bootstrap: list, listen: place, storage: new ClassicLevel(copied) })
    assert.deepEqual([copy.id, copy.peerId], [nodes[2].id, nodes[2].peerId])
    const isOver = (): boolean => told.size === 2 && copy.status().health === 'unavailable'
    const deadlineMs = Date.now() + 12_000
    while (!isOver() && Date.now() < deadlineMs) await pause(50)
    assert.ok(isOver(), `told by ${[...told].join()}, the copy is ${copy.status().health}`)
    const refused = copy.put('a', 'of the copy', { timeoutMs: 1500 })
    await assert.rejects(refused)
    for (const [i, node] of nodes.entries()) await node.put(`key-${i}`, i)
    for (const node of nodes) {
      assert.deepEqual(await node.getMany(['key-0', 'key-1', 'key-2']), [0, 1, 2])
    }
    await copy.stop()
    await nodes[0]!.settled({ timeoutMs: 10_000 })
    assert.deepEqual(
      nodes.map(node => node.status().health),
      ['ok', 'ok', 'ok']
    )
  }).timeout(60_000)
})
