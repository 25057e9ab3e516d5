import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import type { Hash64 } from '../../../src/model/partition.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { encodeRecord } from '../../../src/model/record.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { SEALED } from '../../../src/storage/record-form.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { treeProblem } from '../../../src/testing/at-rest.ts'
import { ClusterLab } from '../../support/cluster-lab.ts'

function owned(topology: Topology): number[] {
  const counts = new Map([...topology.members.keys()].map(store => [store, 0]))
  for (const { slots } of topology.rows) for (const store of slots) counts.set(store, (counts.get(store) ?? 0) + 1)
  return [...counts.values()].toSorted((a, b) => a - b)
}

describe('a cluster of simulated nodes', () => {
  let hash: Hash64
  let lab: ClusterLab

  before(async () => {
    hash = await loadHash64()
  })

  beforeEach(() => {
    lab = new ClusterLab(hash)
  })

  afterEach(async () => {
    await lab.stop()
  })

  it('grows from one to five: rows balanced, everybody at the same topology', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) lab.add(name)
    lab.start('a')
    await lab.settled('a')
    assert.deepEqual(owned(lab.topology('a')), [64])
    lab.start('b', 'c')
    await lab.settled('a', 'b', 'c')
    assert.deepEqual(owned(lab.topology('a')), [64, 64, 64])
    lab.start('d', 'e')
    await lab.settled('a', 'b', 'c', 'd', 'e')
    assert.deepEqual(owned(lab.topology('e')), [38, 38, 38, 39, 39])
    for (const name of ['b', 'c', 'd', 'e']) assert.deepEqual(lab.topology(name), lab.topology('a'))
  })

  it('forms by a list that names everybody, whoever has the smallest id', async () => {
    for (const name of ['a', 'b', 'c']) lab.add(name, { bootstrap: 'all' })
    lab.start('a', 'b', 'c')
    await lab.settled('a', 'b', 'c')
  })

  it('forms although somebody who may not found has the smallest id', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const one = new ClusterLab(hash, seed)
      for (const name of ['a', 'b', 'c']) one.add(name, { bootstrap: 'all' })
      one.add('x', { bootstrap: 'others' })
      one.add('y', { bootstrap: 'all', config: { found: false, partitions: 64 } })
      one.start('a', 'b', 'c', 'x', 'y')
      await one.until('all have joined', () => one.cluster.nodes.length === 5, 10_000)
      await one.settled('a', 'b', 'c', 'x', 'y')
      await one.stop()
    }
  })

  it('does not evict the dead member of a disk cluster, and takes it back with what it has', async () => {
    for (const name of ['a', 'b', 'c', 'd']) lab.add(name, { disk: true })
    lab.start('a', 'b', 'c', 'd')
    await lab.settled('a', 'b', 'c', 'd')
    const id = lab.node('d').core.storeId
    const { rows } = lab.topology('a')
    lab.cluster.crash('d')
    await lab.until('it is down', () => lab.topology('a').members.get(id)?.status === 'down')
    await lab.world.advance(60_000)
    assert.deepEqual(lab.topology('a').rows, rows)
    lab.start('d')
    await lab.settled('a', 'b', 'c', 'd')
    assert.equal(lab.node('d').core.storeId, id)
    assert.deepEqual(lab.topology('d').rows, rows)
  })

  it('rebuilds the copies of a member in memory that died, and forgets it', async () => {
    for (const name of ['a', 'b', 'c', 'd']) lab.add(name)
    lab.start('a', 'b', 'c', 'd')
    await lab.settled('a', 'b', 'c', 'd')
    const id = lab.node('d').core.storeId
    lab.cluster.crash('d')
    await lab.until('it is forgotten', () => !lab.topology('a').members.has(id))
    assert.deepEqual(owned(lab.topology('a')), [64, 64, 64])
  })

  it('goes on when the leader dies in the middle of a move', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) lab.add(name, { disk: true })
    lab.start('a', 'b', 'c', 'd', 'e')
    await lab.settled('a', 'b', 'c', 'd', 'e')
    lab.start('f', 'g')
    const moving = (): boolean => lab.topology('b').rows.some(({ change }) => change !== undefined)
    await lab.until('rows move', moving)
    const leader = lab.cluster.nodes.find(({ core }) => core.cluster.leader === core.storeId)!
    lab.cluster.crash(leader.name)
    await lab.world.advance(500)
    lab.start(leader.name)
    await lab.settled('a', 'b', 'c', 'd', 'e', 'f', 'g')
  })

  it('takes a member in memory back that was cut off for so long that it was forgotten', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) lab.add(name)
    lab.start('a', 'b', 'c', 'd', 'e')
    await lab.settled('a', 'b', 'c', 'd', 'e')
    const id = lab.node('e').core.storeId
    lab.cluster.network.split([['a', 'b', 'c', 'd'], ['e']])
    await lab.until('it is forgotten', () => !lab.topology('a').members.has(id))
    lab.cluster.network.heal()
    await lab.settled('a', 'b', 'c', 'd', 'e')
    assert.equal(lab.node('e').core.storeId, id)
  })

  it('survives two memory nodes of which one restarts again and again', async () => {
    lab.add('a')
    lab.add('b')
    lab.start('a', 'b')
    await lab.settled('a', 'b')
    await lab.world.settle(lab.node('a').put('k', 'v', 'quorum', 5000))
    for (let i = 0; i < 3; i++) {
      lab.cluster.crash('b')
      await lab.world.advance(1000)
      lab.start('b')
      await lab.world.advance(4000)
    }
    await lab.settled('a', 'b')
    assert.equal((await lab.world.settle(lab.node('b').get('k', 'quorum', 5000)))?.value, 'v')
  })

  it('loses no write that two owners of a row took while they were cut off from the third and all others', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    for (const name of names) lab.add(name)
    lab.start(...names)
    await lab.settled(...names)
    const cutOff = ['f', 'g'].map(name => lab.node(name).core.storeId)
    const { ring } = lab.node('f').core
    const { rows } = lab.topology('f')
    const key = Array.from({ length: 1000 }, (_, i) => `k${i}`).find(text => {
      const { slots } = rows[ring.partitionOf(utf8(text))]!
      return cutOff.every(store => slots.includes(store))
    })!
    lab.cluster.network.split([names.slice(0, 5), ['f', 'g']])
    await lab.world.advance(5000)
    await lab.world.settle(lab.node('f').put(key, 'taken', 'quorum', 5000))
    await lab.until('they are evicted', () => lab.topology('a').members.get(cutOff[0]!)?.status !== 'down')
    await lab.world.advance(20_000)
    lab.cluster.network.heal()
    await lab.settled(...names)
    assert.equal((await lab.world.settle(lab.node('a').get(key, 'quorum', 5000)))?.value, 'taken')
  })

  it('lets a member leave that owns nothing but leads', async () => {
    lab.add('a', { config: { weight: 0, partitions: 64 } })
    lab.add('b')
    lab.start('a', 'b')
    await lab.settled('a', 'b')
    await lab.world.settle(lab.cluster.leave('a', 30_000))
    await lab.settled('b')
  })

  it('is led by another at once when its leader is stopped in good order', async () => {
    const names = ['a', 'b', 'c']
    for (const name of names) lab.add(name, { disk: true })
    lab.start(...names)
    await lab.settled(...names)
    await lab.until('all three vote', () => lab.cluster.nodes.every(({ core }) => core.cluster.leader !== undefined))
    const leader = lab.cluster.nodes.find(({ core }) => core.cluster.leader === core.storeId)!
    const others = lab.cluster.nodes.filter(node => node !== leader)
    const next = (): boolean =>
      others.every(({ core }) => core.cluster.leader !== undefined && core.cluster.leader !== leader.core.storeId)
    const stopped = lab.cluster.stop(leader.name)
    // An election for lack of a leader takes a second at least.
    await lab.until('another one leads', next, 500)
    await lab.world.settle(stopped)
  })

  it('gives back what its former life was clearing away when it ended, and keeps what it owns', async () => {
    const names = ['a', 'b', 'c', 'd']
    for (const name of names) lab.add(name, { disk: true })
    lab.start(...names)
    await lab.settled(...names)
    for (let i = 0; i < 50; i++) await lab.world.settle(lab.node('a').put(`k${i}`, `${i}`, 'all', 5000))
    // The last to join has never owned what it does not own now.
    const { storeId } = lab.node('d').core
    const isOwn = (partition: number): boolean => lab.topology('b').rows[partition]!.slots.includes(storeId)
    const foreign = lab.topology('b').rows.findIndex((_, partition) => !isOwn(partition))
    lab.cluster.crash('d')
    const record = encodeRecord({ stamp: { hlc: 1, actor: '00000000000000aa' as Actor }, value: utf8('left') })
    const key = dataKey(foreign, utf8(''), utf8('left'))
    lab.cluster.machine('d').disk.write({ changes: [{ key, value: SEALED.seal(key, record) }] }, true)
    lab.start('d')
    await lab.settled(...names)
    const { records } = lab.node('d').core
    await lab.until('all else is cleared away', () => lab.node('d').core.cluster.strays?.size === 0)
    const { slots } = lab.topology('b').rows[foreign]!
    const owners = lab.cluster.nodes.filter(({ core }) => slots.includes(core.storeId))
    const place = { partition: foreign, keyspace: utf8(''), key: utf8('left') }
    const found = owners.map(async ({ core }) => core.records.get(place))
    assert.ok((await lab.world.settle(Promise.all(found))).some(Boolean), 'an owner has it')
    const held = await lab.world.settle(records.partitions())
    assert.ok(held.length > 0)
    for (const partition of held) assert.ok(isOwn(partition), `partition ${partition} is its own`)
    for (let i = 0; i < 50; i++) {
      assert.equal((await lab.world.settle(lab.node('a').get(`k${i}`, 'all', 5000)))?.value, `${i}`)
    }
  })

  it('gives a member that returns what it missed, from what others have kept for it', async () => {
    const names = ['a', 'b', 'c']
    for (const name of names) lab.add(name, { disk: true, config: { partitions: 64, repairIntervalMs: Infinity } })
    lab.start(...names)
    await lab.settled(...names)
    lab.cluster.crash('c')
    for (let i = 0; i < 50; i++) await lab.world.settle(lab.node('a').put(`k${i}`, `${i}`, 'quorum', 5000))
    await lab.until('all of it is kept', () => lab.node('a').core.status().hints.count === 50)
    lab.start('c')
    await lab.settled(...names)
    await lab.until('all is handed over', () => lab.node('a').core.status().hints.count === 0, 5000)
    for (let i = 0; i < 50; i++) {
      assert.equal((await lab.world.settle(lab.node('c').get(`k${i}`, 'one', 5000)))?.value, `${i}`)
    }
  })

  it('takes a write at any on a node that is cut off from all owners, and hands it over later', async () => {
    const names = ['a', 'b', 'c', 'd']
    for (const name of names) lab.add(name, { config: { partitions: 64, weight: name === 'd' ? 0 : 1 } })
    lab.start(...names)
    await lab.settled('a', 'b', 'c', 'd')
    lab.cluster.network.split([['a', 'b', 'c'], ['d']])
    await assert.rejects(lab.world.settle(lab.node('d').put('k', 'one', 'one', 2000)), isKilovoltError)
    await lab.world.settle(lab.node('d').put('k', 'any', 'any', 2000))
    await lab.world.advance(3000)
    lab.cluster.network.heal()
    await lab.settled(...names)
    await lab.until('it is handed over', () => lab.node('d').core.status().hints.count === 0, 5000)
    assert.equal((await lab.world.settle(lab.node('a').get('k', 'quorum', 5000)))?.value, 'any')
  })

  it('serves on with a member whose disk is full, and makes its copies whole afterwards', async () => {
    const names = ['a', 'b', 'c', 'd']
    for (const name of names) lab.add(name, { disk: true, config: { partitions: 64, repairIntervalMs: 3000 } })
    lab.start(...names)
    await lab.settled(...names)
    const told: string[] = []
    lab.node('d').core.on('storage', failure => told.push(failure?.code ?? 'writable'))
    lab.cluster.machine('d').disk.set({ failPer10k: 10_000 })
    const answers: string[] = []
    for (let i = 0; i < 60; i++) {
      const node = lab.node(names[i % 3]!)
      await lab.world
        .settle(node.put(`k${i}`, `${i}`, 'quorum', 5000))
        .catch((error: Error) => answers.push(error.message))
    }
    assert.deepEqual(answers, [], 'the other owners are a quorum')
    assert.deepEqual(told, ['KV_STORAGE'])
    // Its own stamps need a ceiling on the disk.
    await assert.rejects(lab.world.settle(lab.node('d').put('own', 'x', 'quorum', 5000)), { code: 'KV_STORAGE' })
    const { health, storage } = lab.node('d').core.status()
    assert.equal(health, 'degraded')
    assert.match(storage.readOnly!, /./u)
    lab.cluster.machine('d').disk.set({ failPer10k: 0 })
    await lab.until('its copies are whole', () => treeProblem(lab.cluster.nodes) === undefined)
    assert.deepEqual(told, ['KV_STORAGE', 'writable'])
    for (let i = 0; i < 60; i++) {
      assert.equal((await lab.world.settle(lab.node('d').get(`k${i}`, 'quorum', 5000)))?.value, `${i}`)
    }
  })

  it('tells of partitions whose copies were all lost, and of no others', async () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    for (const name of names) lab.add(name, { config: { partitions: 64, replicas: 2 } })
    lab.start(...names)
    await lab.settled(...names)
    const lost = new Map<number, number>()
    lab.node('a').node.addEventListener('partition:lost', ({ detail }) => lost.set(detail.partition, detail.left))
    const gone = ['b', 'c'].map(name => lab.node(name).core.storeId)
    const { rows } = lab.topology('a')
    for (const name of ['b', 'c']) lab.cluster.crash(name)
    await lab.world.advance(1000)
    // Other stores at their addresses: what they held has ended with them.
    lab.start('b', 'c')
    await lab.settled(...names)
    const expected = rows.flatMap(({ slots }, partition) => (slots.every(id => gone.includes(id)) ? [partition] : []))
    assert.ok(expected.length > 0)
    assert.deepEqual(
      [...lost.keys()].toSorted((x, y) => x - y),
      expected
    )
    assert.ok([...lost.values()].every(left => left === 0))
  })

  it('takes a first node back that starts anew with nobody but itself on its list', async () => {
    const names = ['a', 'b', 'c', 'd']
    for (const name of names)
      lab.add(name, { config: { partitions: 64, bootstrap: ['/ip4/10.0.0.1/tcp/7400'], evictAfterMs: 2000 } })
    for (const goneMs of [1000, 20_000, 90_000, 700_000]) {
      lab.start(...names)
      await lab.settled(...names)
      const { clusterId } = lab.topology('b')
      lab.cluster.crash('a')
      await lab.world.advance(goneMs)
      lab.start('a')
      await lab.settled(...names)
      assert.equal(lab.topology('a').clusterId, clusterId, `after ${goneMs} ms`)
    }
  }).timeout(60_000)

  it('has all copies again soon when two of five die for good, and tells what may be lost', async () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    for (const name of names) lab.add(name, { config: { partitions: 64, evictAfterMs: 2000 } })
    lab.start(...names)
    await lab.settled(...names)
    for (let i = 0; i < 100; i++) await lab.world.settle(lab.node('a').put(`k${i}`, `${i}`, 'all', 5000))
    const left = new Set<number>()
    lab.node('a').node.addEventListener('partition:lost', ({ detail }) => left.add(detail.left))
    for (const name of ['d', 'e']) lab.cluster.crash(name)
    const living = ['a', 'b', 'c']
    const isWhole = (): boolean => {
      const ids = living.map(name => lab.node(name).core.storeId)
      const { rows } = lab.topology('a')
      return rows.every(({ slots, change }) => change === undefined && ids.every(id => slots.includes(id)))
    }
    await lab.until('every partition has three owners that live', isWhole, 12_000)
    assert.deepEqual([...left], [1])
    for (let i = 0; i < 100; i++) {
      assert.equal((await lab.world.settle(lab.node('b').get(`k${i}`, 'quorum', 5000)))?.value, `${i}`)
    }
  })

  it('rebuilds no row without its majority when that may only be cut off', async () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    for (const name of names) lab.add(name, { config: { partitions: 64, evictAfterMs: 2000 } })
    lab.start(...names)
    await lab.settled(...names)
    const apart = ['d', 'e'].map(name => lab.node(name).core.storeId)
    const theirs = lab
      .topology('a')
      .rows.flatMap(({ slots }, partition) => (slots.filter(id => apart.includes(id)).length === 2 ? [partition] : []))
    assert.ok(theirs.length > 5)
    lab.cluster.network.split([
      ['a', 'b', 'c'],
      ['d', 'e']
    ])
    await lab.world.advance(30_000)
    const { rows } = lab.topology('a')
    for (const partition of theirs)
      assert.ok(
        apart.every(id => rows[partition]!.slots.includes(id)),
        `${partition}`
      )
    lab.cluster.network.heal()
    await lab.settled(...names)
  })

  it('lets all leave together', async () => {
    for (const name of ['a', 'b', 'c']) lab.add(name)
    lab.start('a', 'b', 'c')
    await lab.settled('a', 'b', 'c')
    await lab.world.settle(Promise.all(['a', 'b', 'c'].map(name => lab.cluster.leave(name, 30_000))))
  })

  it('hands over what a leaving member owns, also when it leads and is the only voter', async () => {
    lab.add('a')
    lab.add('b')
    lab.start('a', 'b')
    await lab.settled('a', 'b')
    const id = lab.node('a').core.storeId
    await lab.world.settle(lab.node('a').put('k', 'v', 'quorum', 5000))
    await lab.world.settle(lab.cluster.leave('a', 30_000))
    assert.ok(!lab.topology('b').members.has(id))
    await lab.settled('b')
    assert.equal((await lab.world.settle(lab.node('b').get('k', 'quorum', 5000)))?.value, 'v')
  })

  it('returns to its cluster on the store with which it left', async () => {
    lab.add('a', { disk: true })
    lab.add('b', { disk: true })
    lab.start('a', 'b')
    await lab.settled('a', 'b')
    const id = lab.node('b').core.storeId
    await lab.world.settle(lab.node('b').leave(30_000))
    // Its process has ended; its disk stays as it is.
    lab.cluster.crash('b')
    await lab.settled('a')
    lab.start('b')
    await lab.settled('a', 'b')
    assert.equal(lab.node('b').core.storeId, id)
  })

  it('stays when nobody takes over what it owns', async () => {
    lab.add('a')
    lab.add('b')
    lab.start('a', 'b')
    await lab.settled('a', 'b')
    lab.cluster.crash('b')
    await lab.until('it is down', () => [...lab.topology('a').members.values()].some(({ status }) => status === 'down'))
    await assert.rejects(lab.world.settle(lab.node('a').core.cluster.leave(3000)), { code: 'KV_TIMEOUT' })
    assert.equal(lab.node('a').core.cluster.phase, 'member')
  })

  it('comes back after all of it was killed, however young it was', async () => {
    for (const atMs of [0, 20, 60, 200, 800, 3000]) {
      const one = new ClusterLab(hash, atMs + 1)
      for (const name of ['a', 'b', 'c']) one.add(name, { disk: true, bootstrap: 'all' })
      one.start('a', 'b', 'c')
      await one.until('it is founded', () => one.cluster.nodes.length > 0)
      await one.world.advance(atMs)
      for (const name of one.cluster.names) one.cluster.crash(name, { machine: true })
      await one.world.advance(2000)
      one.start('a', 'b', 'c')
      await one.settled('a', 'b', 'c')
      await one.stop()
    }
  })

  it('founds again alone on a disk that was killed in the midst of founding', async () => {
    for (let atMs = 0; atMs < 40; atMs++) {
      const one = new ClusterLab(hash, atMs + 1)
      one.add('a', { disk: true, bootstrap: 'founder' })
      one.start('a')
      await one.world.advance(atMs)
      one.cluster.crash('a')
      await one.world.advance(100)
      one.start('a')
      await one.settled('a')
      await one.stop()
    }
  })
})
