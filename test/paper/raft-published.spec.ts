import assert from 'node:assert/strict'
import { utf8 } from '../../src/base/bytes.ts'
import type { Entry, RaftMessage } from '../../src/consensus/messages.ts'
import type { StoreId } from '../../src/model/node-id.ts'
import {
  RaftNetwork,
  type RaftNetworkOptions,
  type RaftNode,
  foundedBy,
  stateOf,
  storeId,
  termsOf
} from '../support/raft-network.ts'

// Scenarios that etcd/raft publishes with its tests, retold: each title ends with the name it has there. What they expect
// is adapted where we differ: always pre-vote and check-quorum, configurations in force from the log on, reads by rounds.

const [A, B, C, D, E] = [1, 2, 3, 4, 5].map(storeId) as [StoreId, StoreId, StoreId, StoreId, StoreId]
const THREE = [A, B, C]
const FIVE = [A, B, C, D, E]

function group(voters: readonly StoreId[], options: RaftNetworkOptions = {}): RaftNetwork {
  const net = new RaftNetwork(options)
  net.addVoters(...voters)
  return net
}

/** A group that A leads, everybody being up to date. */
function ledByA(voters: readonly StoreId[], options: RaftNetworkOptions = {}): RaftNetwork {
  const net = group(voters, options)
  net.elect(A)
  net.run(200)
  return net
}

function logs(net: RaftNetwork): number[][] {
  return [...net.nodes.values()].map(termsOf)
}

function command(index: number, term: number): Entry {
  return { index, term, kind: 'command', command: utf8(`${term}/${index}`) }
}

describe('published scenarios: elections', () => {
  it('a leader may have to overwrite entries of later terms than its own log (LeaderElectionOverwriteNewerLogs)', () => {
    // A got an entry of term 2 from nobody but itself and B; C one of term 3, with the votes of D and E; then C was lost.
    const net = new RaftNetwork()
    net.add(A, stateOf([1, 2], FIVE, { term: 2, vote: A }))
    net.add(B, stateOf([1, 2], FIVE, { term: 2, vote: A }))
    net.add(C, stateOf([1, 3], FIVE, { term: 3, vote: C }))
    net.add(D, stateOf([1], FIVE, { term: 3, vote: C }))
    net.add(E, stateOf([1], FIVE, { term: 3, vote: C }))
    net.elect(A)
    net.run(300)
    for (const log of logs(net)) assert.deepEqual(log, [1, 2, net.leader!.raft!.term])
  })

  it('any node votes for a better one, whatever it was itself (VoteFromAnyState)', () => {
    const states: ((net: RaftNetwork) => void)[] = [
      () => {},
      net => {
        net.isolate(B)
        net.campaign(B)
        assert.equal(net.node(B).raft!.role, 'pre-candidate')
      },
      net => {
        net.elect(B)
        assert.equal(net.node(B).raft!.role, 'leader')
      }
    ]
    for (const enter of states) {
      const net = group(THREE)
      enter(net)
      let isGranted = false
      net.tap = message => {
        isGranted ||= message.kind === 'voteReply' && message.from === B && message.granted && !message.pre
      }
      const term = net.node(B).raft!.term + 1
      net.node(B).step({ kind: 'vote', from: C, to: B, term, pre: false, transfer: true, lastIndex: 9, lastTerm: term })
      assert.deepEqual([isGranted, net.node(B).raft!.role, net.node(B).raft!.term], [true, 'follower', term])
    }
  })

  it('of two candidates that do not hear each other one wins, and the other follows it (DuelingCandidates, DuelingPreCandidates)', () => {
    const net = group(THREE)
    net.cut(A, C)
    net.elect(A)
    net.campaign(C, 100)
    assert.deepEqual([net.node(A).isLeader, net.node(C).isLeader], [true, false])
    net.heal()
    net.run(500)
    assert.equal(net.node(C).raft!.leader, A)
    for (const log of logs(net)) assert.deepEqual(log, [1, 2])
  })

  it('a candidate that hears of the leader gives in and takes its log (CandidateConcede)', () => {
    const net = group(THREE)
    net.isolate(A)
    net.campaign(A)
    net.elect(C)
    net.heal()
    net.node(C).propose('x')
    net.run(500)
    assert.deepEqual([net.node(A).raft!.role, net.node(A).raft!.leader], ['follower', C])
    for (const node of net.nodes.values()) assert.deepEqual(node.commands, ['x'])
  })

  it('a sole voter elects itself and commits by itself (SingleNodeCandidate, SingleNodeCommit, single_node)', () => {
    const net = group([A])
    net.run(1)
    assert.ok(net.node(A).isLeader)
    net.node(A).propose('x')
    assert.deepEqual(net.node(A).commands, ['x'])
  })

  it('two nodes split over their votes agree in the end (PreVoteWithSplitVote)', () => {
    const net = group(THREE)
    net.elect(A)
    net.node(A).crash()
    // B and C both get to stand in the same term.
    for (const id of [B, C]) {
      const { term } = net.node(id).raft!
      net.node(id).step({ kind: 'timeoutNow', from: A, to: id, term })
    }
    assert.deepEqual([net.node(B).raft!.role, net.node(C).raft!.role], ['candidate', 'candidate'])
    const leader = net.settle()
    assert.ok(leader.raft!.term >= 4)
  })

  it('a node with an earlier term than the rest can still win (NodeWithSmallerTermCanCompleteElection)', () => {
    const net = new RaftNetwork()
    net.add(A, stateOf([1, 1], THREE, { term: 1 }))
    net.add(B, stateOf([1], THREE, { term: 9 }))
    net.add(C, stateOf([1], THREE, { term: 5 }))
    net.elect(A)
    assert.equal(net.node(A).raft!.term, 10)
  })

  it('voters that are not so called yet vote when they are asked (LearnerCannotVote, campaign_learner_must_vote)', () => {
    const net = new RaftNetwork()
    const configuration = { voters: [A, B], outgoing: [], learners: [C] }
    const base = foundedBy([A, B])
    const learning: Entry = { index: 1, term: 1, kind: 'configuration', configuration }
    const promoted: Entry = {
      index: 2,
      term: 1,
      kind: 'configuration',
      configuration: { ...configuration, voters: THREE, learners: [] }
    }
    // A, which has done it, is gone; C has not heard of its promotion.
    net.add(A, { ...base, entries: [learning, promoted] }).crash()
    net.add(B, { ...base, hardState: { ...base.hardState, commit: 2 }, entries: [learning, promoted] })
    const learner = net.add(C, { ...base, entries: [learning] })
    net.elect(B)
    net.run(300)
    assert.deepEqual(learner.raft!.configuration.voters, THREE)
  })

  it('a learner stays one until it is promoted, and then may lead (LearnerElectionTimeout, LearnerPromotion)', () => {
    const net = ledByA([A, B])
    net.add(C)
    net.node(A).change([A, B], [C])
    net.run(200)
    net.campaign(C)
    assert.equal(net.node(C).raft!.role, 'follower')
    net.node(A).change(THREE)
    net.run(200)
    net.elect(C)
    assert.equal(net.node(A).raft!.leader, C)
  })
})

describe('published scenarios: check-quorum', () => {
  it('a leader is not replaced while a majority hears it (LeaderSupersedingWithCheckQuorum)', () => {
    const net = ledByA(THREE)
    const node = net.node(C)
    node.skewMs += 5000
    node.tick()
    net.run(500)
    assert.deepEqual([net.leader!.id, net.leader!.raft!.term], [A, 2])
    // Once it is gone for long enough, C is welcome.
    net.node(A).crash()
    net.elect(C)
  })

  it('a candidate that has got stuck in a later term is freed (FreeStuckCandidateWithCheckQuorum)', () => {
    const net = ledByA(THREE)
    // C has a later term on its disk than the leader knows of.
    net.isolate(C)
    net
      .node(C)
      .step({ kind: 'append', from: B, to: C, term: 7, prevIndex: 0, prevTerm: 0, commit: 0, round: 0, entries: [] })
    net.heal()
    const leader = net.settle()
    leader.propose('x')
    net.run(500)
    assert.ok(leader.raft!.term >= 8)
    assert.deepEqual(net.node(C).commands, ['x'])
  })

  it('who may not stand knows its leader all the same (NonPromotableVoterWithCheckQuorum)', () => {
    const net = new RaftNetwork()
    net.add(A, foundedBy([A]))
    const stranger = net.add(B)
    net.run(1)
    net.node(A).change([A], [B])
    net.run(300)
    assert.deepEqual([stranger.raft!.leader, stranger.raft!.role], [A, 'follower'])
  })

  it('a follower that lost its patience does not disturb (DisruptiveFollower, DisruptiveFollowerPreVote)', () => {
    const net = ledByA(THREE)
    net.isolate(C)
    for (let i = 0; i < 3; i++) net.node(A).propose(`${i}`)
    net.run(5000)
    net.heal()
    net.run(2000)
    assert.deepEqual([net.leader!.id, net.leader!.raft!.term], [A, 2])
    assert.equal(net.node(C).commands.length, 3)
  })

  it('a leader that nobody answers becomes a follower, and another is found when they do (LeaderElectionWithCheckQuorum, checkquorum)', () => {
    const net = ledByA(THREE)
    net.split([A], [B], [C])
    net.run(10_000)
    assert.deepEqual(
      [...net.nodes.values()].map(({ isLeader }) => isLeader),
      [false, false, false]
    )
    assert.ok([...net.nodes.values()].every(({ raft }) => raft!.term === 2))
    net.heal()
    assert.equal(net.settle().raft!.term, 3)
  })
})

describe('published scenarios: replication', () => {
  it('entries of an earlier term wait for one of the leader own (CannotCommitWithoutNewTermEntry)', () => {
    const net = ledByA(FIVE)
    net.split([A, B], [C], [D], [E])
    net.node(A).propose('one')
    net.node(A).propose('two')
    net.run(200)
    assert.equal(net.node(A).raft!.log.committed, 2)
    net.heal()
    net.filter = message => !(message.kind === 'append' && message.entries.some(({ term }) => term > 2))
    net.elect(B)
    net.run(300)
    assert.equal(net.node(B).raft!.log.committed, 2)
    net.filter = () => true
    net.run(1000)
    assert.deepEqual(net.node(B).commands, ['one', 'two'])
  })

  it('and are committed along with its first, without any proposal (CommitWithoutNewTermEntry)', () => {
    const net = ledByA(FIVE)
    net.split([A, B], [C], [D], [E])
    net.node(A).propose('one')
    net.run(200)
    net.heal()
    net.elect(B)
    net.run(500)
    for (const node of net.nodes.values()) assert.deepEqual(node.commands, ['one'])
  })

  it('messages of a leader that is none any more change nothing (OldMessages)', () => {
    const net = ledByA(THREE)
    net.elect(B)
    net.elect(A)
    net.run(300)
    const before = logs(net)
    const old: RaftMessage = {
      kind: 'append',
      from: B,
      to: A,
      term: 3,
      prevIndex: 2,
      prevTerm: 2,
      commit: 9,
      round: 0,
      entries: [command(3, 3)]
    }
    net.node(A).step(old)
    net.node(C).step({ ...old, to: C })
    net.run(300)
    assert.deepEqual(logs(net), before)
    net.node(A).propose('x')
    net.run(300)
    for (const node of net.nodes.values()) assert.deepEqual(node.commands, ['x'])
  })

  it('a proposal succeeds exactly when a majority is there (Proposal)', () => {
    for (const [cut, success] of [
      [[], true],
      [[C], true],
      [[B, C], false],
      [[D, E], true],
      [[C, D, E], false]
    ] as const) {
      const voters = cut.includes(D as never) ? FIVE : THREE
      const net = ledByA(voters)
      for (const id of cut) net.isolate(id)
      net.node(A).propose('x')
      net.run(500)
      assert.equal(net.node(A).commands.includes('x'), success, `${cut.length} of ${voters.length} cut off`)
    }
  })

  it('a refusal leads back over whole terms at once, on both sides (FastLogRejection)', () => {
    const cases: [leader: number[], follower: number[], refusals: number][] = [
      // The follower is short; it says where it ends.
      [[1, 2, 2, 4, 4, 4, 4], [1, 2, 2, 4], 1],
      [[1, 2, 2, 4, 4, 4, 4, 5, 5, 5, 5], [1, 2, 2, 4], 1],
      // It has many entries of a term that the leader lacks.
      [[1, 1, 1, 1, 1, 7], [1, 2, 2, 2, 2, 2, 2, 2, 2, 2], 2],
      // The leader has many of a term that the follower lacks.
      [[1, 3, 3, 3, 3, 3, 3, 3, 3], [1, 1, 1, 2, 2], 2],
      // Terms alternate: one refusal for each at the worst.
      [[1, 1, 3, 3, 5, 5, 7, 7], [1, 2, 2, 4, 4, 6, 6, 6], 4]
    ]
    for (const [leaderTerms, followerTerms, most] of cases) {
      const term = Math.max(...leaderTerms, ...followerTerms)
      const net = new RaftNetwork()
      net.add(A, stateOf(leaderTerms, THREE, { term }))
      const follower = net.add(B, stateOf(followerTerms, THREE, { term }))
      net.add(C, stateOf([1], THREE, { term }))
      let refusals = 0
      net.tap = ({ kind, from }) => {
        if (kind === 'appendRefusal' && from === B) refusals++
      }
      net.elect(A)
      net.run(500)
      assert.deepEqual(termsOf(follower), termsOf(net.node(A)))
      assert.ok(refusals <= most, `${refusals} refusals for ${followerTerms.join()}`)
    }
  })

  it('a leader finds where all logs agree and carries on from there (probe_and_replicate)', () => {
    const net = new RaftNetwork()
    const voters = [...FIVE, storeId(6), storeId(7)]
    const histories = [
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
      [1, 1, 1, 4, 4, 5, 5, 6, 6],
      [1, 1, 1, 4],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
      [1, 1, 1, 4, 4, 4, 4],
      [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    ]
    histories.forEach((terms, i) => net.add(voters[i]!, stateOf(terms, voters, { term: 7 })))
    net.elect(A)
    net.node(A).propose('the end')
    net.run(1000)
    for (const log of logs(net))
      assert.deepEqual(log, [...histories[0]!, net.node(A).raft!.term, net.node(A).raft!.term])
    assert.ok(FIVE.slice(1).every(id => net.node(A).raft!.progressOf(id)?.state === 'replicate'))
  })

  it('a follower that does not answer is sent no more than the limits allow, and then catches up (replicate_pause, MsgAppFlowControlFull)', () => {
    const net = ledByA(THREE, { raft: { inflightMax: 3 } })
    let sent = 0
    net.tap = message => {
      if (message.kind === 'append' && message.to === C && message.entries.length > 0) sent++
    }
    net.filter = ({ from, to }) => from !== C && to !== C
    for (let i = 0; i < 10; i++) {
      net.node(A).propose(`${i}`)
      net.run(1)
    }
    assert.equal(sent, 3)
    assert.ok(net.node(A).raft!.progressOf(C)!.isPaused)
    net.filter = () => true
    net.run(500)
    assert.equal(net.node(C).commands.length, 10)
  })

  it('a follower whose messages were lost is found out by the next heartbeat (MsgAppRespWaitReset, heartbeat_resp_recovers_from_probing)', () => {
    const net = ledByA(THREE)
    net.filter = ({ to, kind }) => !(to === C && kind === 'append')
    net.node(A).propose('lost')
    net.run(10)
    net.filter = () => true
    net.run(200)
    assert.deepEqual(net.node(C).commands, ['lost'])
    assert.equal(net.node(A).raft!.progressOf(C)!.state, 'replicate')
  })

  it('the commit index reaches a follower that has everything but does not know (lagging_commit)', () => {
    const net = ledByA(THREE)
    net.filter = message => !(message.to === C && message.kind === 'append' && message.commit > 2)
    net.node(A).propose('x')
    net.run(100)
    assert.deepEqual([net.node(C).raft!.log.lastIndex, net.node(C).raft!.log.committed], [3, 2])
    net.filter = () => true
    net.run(200)
    assert.equal(net.node(C).raft!.log.committed, 3)
  })

  it('an entry cut off while it is written does not pass for written (async_storage_writes_append_aba_race)', () => {
    const net = new RaftNetwork({ weather: { writeMaxMs: 0 } })
    const node = net.add(A, foundedBy(THREE))
    const acks: number[] = []
    net.tap = message => {
      if (message.kind === 'appendReply') acks.push(message.match)
    }
    const append = (from: StoreId, term: number, entries: Entry[]): RaftMessage => {
      return { kind: 'append', from, to: A, term, prevIndex: 1, prevTerm: 1, commit: 1, round: 0, entries }
    }
    net.weather.writeMaxMs = 300
    // The same place is written by the leader of term 2, cut off by that of term 3, and written again in term 4.
    node.step(append(B, 2, [command(2, 2), command(3, 2)]))
    node.step(append(C, 3, [command(2, 3)]))
    node.step(append(B, 4, [command(2, 2), command(3, 2)]))
    net.run(2000)
    assert.deepEqual(termsOf(node), [1, 2, 2])
    assert.deepEqual(
      node.disk.state.entries.map(({ term }) => term),
      [1, 2, 2]
    )
    assert.equal(acks.at(-1), 3)
  })
})

describe('published scenarios: snapshots', () => {
  function lagging(): { net: RaftNetwork; slow: RaftNode } {
    const net = ledByA(THREE)
    const slow = net.node(C)
    slow.crash()
    for (let i = 0; i < 30; i++) net.node(A).propose(`${i}`)
    net.run(200)
    net.node(A).trim(5)
    return { net, slow }
  }

  it('a slow follower is restored, and follows again (SlowNodeRestore, slow_follower_after_compaction)', () => {
    const { net, slow } = lagging()
    slow.start()
    net.run(500)
    net.node(A).propose('x')
    net.run(500)
    assert.deepEqual(slow.commands, ['x'])
    assert.equal(slow.applied.digest, net.node(A).applied.digest)
    assert.equal(net.node(A).raft!.progressOf(C)!.state, 'replicate')
  })

  it('no snapshot is sent to a follower that is not there (IgnoreProvidingSnap)', () => {
    const { net } = lagging()
    net.run(3000)
    let sent = 0
    net.tap = ({ kind }) => {
      if (kind === 'snapshot') sent++
    }
    net.run(10_000)
    assert.equal(sent, 0)
  })

  it('an older snapshot than the one that was sent will do when the rest is in the log (snapshot_succeed_via_app_resp_behind)', () => {
    const { net, slow } = lagging()
    const { snapshot } = net.node(A).raft!.log
    net.node(A).propose('more')
    net.run(200)
    net.node(A).trim(5)
    // The newer one is lost; the older one, still on its way, arrives.
    net.filter = ({ kind }) => kind !== 'snapshot'
    slow.start()
    net.run(500)
    assert.equal(net.node(A).raft!.progressOf(C)!.state, 'snapshot')
    slow.step({ kind: 'snapshot', from: A, to: C, term: 2, round: 0, snapshot: snapshot! })
    net.run(300)
    assert.equal(slow.applied.digest, net.node(A).applied.digest)
    assert.equal(net.node(A).raft!.progressOf(C)!.state, 'replicate')
  })
})

describe('published scenarios: handing over', () => {
  it('to a voter that is up to date, and back (LeaderTransferToUpToDateNode, LeaderTransferBack)', () => {
    const net = ledByA(THREE)
    net.node(A).transfer(C)
    net.run(50)
    assert.equal(net.leader!.id, C)
    net.node(C).propose('x')
    net.run(200)
    net.node(C).transfer(A)
    net.run(50)
    assert.equal(net.leader!.id, A)
  })

  it('to one that lags, also by a snapshot (LeaderTransferToSlowFollower, LeaderTransferAfterSnapshot)', () => {
    for (const isTrimmed of [false, true]) {
      const net = ledByA(THREE)
      net.isolate(C)
      for (let i = 0; i < 10; i++) net.node(A).propose(`${i}`)
      net.run(300)
      if (isTrimmed) net.node(A).trim(1)
      net.heal()
      net.run(200)
      net.node(A).transfer(C)
      net.run(500)
      assert.equal(net.leader!.id, C)
    }
  })

  it('not to oneself, a learner or a stranger (LeaderTransferToSelf, LeaderTransferToNonExistingNode, LeaderTransferToLearner)', () => {
    const net = ledByA([A, B])
    net.add(C)
    net.node(A).change([A, B], [C])
    net.run(200)
    for (const to of [A, C, E]) assert.equal(net.node(A).transfer(to), false)
    assert.ok(net.node(A).propose('x'))
  })

  it('to the last one named (LeaderTransferSecondTransferToAnotherNode)', () => {
    const net = ledByA(FIVE)
    net.node(B).crash()
    net.node(A).propose('x')
    net.run(200)
    net.node(A).transfer(B)
    net.run(100)
    net.node(A).transfer(C)
    net.run(100)
    assert.equal(net.leader!.id, C)
  })

  it('a follower that is told to stand although it was removed does not (TransferNonMember)', () => {
    const net = new RaftNetwork()
    const node = net.add(A, foundedBy([B, C, D]))
    node.step({ kind: 'append', from: B, to: A, term: 1, prevIndex: 0, prevTerm: 0, commit: 0, round: 0, entries: [] })
    node.step({ kind: 'timeoutNow', from: B, to: A, term: 1 })
    assert.equal(node.raft!.role, 'follower')
  })
})

describe('published scenarios: changing the members', () => {
  it('what waits for a majority is committed when a removal makes it one (CommitAfterRemoveNode)', () => {
    const net = ledByA([A, B])
    net.isolate(B)
    assert.ok(net.node(A).change([A]))
    net.node(A).propose('waits')
    net.run(100)
    assert.deepEqual(net.node(A).commands, [])
    net.heal()
    net.run(500)
    assert.deepEqual(net.node(A).commands, ['waits'])
    assert.ok(net.node(A).isLeader)
  })

  it('a group replaces all its voters but one, and its leader (confchange_v2_replace_leader)', () => {
    const net = ledByA(THREE)
    for (const id of [D, E]) net.add(id)
    net.node(A).change(THREE, [D, E])
    net.run(300)
    net.node(A).change([B, D, E])
    net.run(500)
    const leader = net.settle()
    assert.ok(leader.id !== A)
    leader.propose('x')
    net.run(500)
    for (const id of [B, D, E]) assert.deepEqual(net.node(id).commands, ['x'])
    assert.deepEqual(net.node(A).raft!.configuration, { voters: [B, D, E], outgoing: [], learners: [] })
  })

  it('one grows to three, each added by itself (confchange_v2_add_single_auto, confchange_v2_add_double_auto)', () => {
    for (const steps of [[[A, B], THREE], [THREE]]) {
      const net = group([A])
      for (const id of [B, C]) net.add(id)
      net.run(1)
      for (const voters of steps) {
        assert.ok(net.node(A).change(voters))
        net.run(300)
      }
      net.node(A).propose('x')
      net.run(300)
      for (const node of net.nodes.values()) assert.deepEqual(node.commands, ['x'])
    }
  })

  it('a new leader treats an uncommitted change of its predecessor as open (NewLeaderPendingConfig)', () => {
    const base = stateOf([1], THREE, { term: 2 })
    const change: Entry = {
      index: 2,
      term: 2,
      kind: 'configuration',
      configuration: { voters: [A, B], outgoing: THREE, learners: [] }
    }
    const net = new RaftNetwork()
    for (const id of THREE) net.add(id, { ...base, entries: [...base.entries, change] })
    net.filter = ({ kind }) => kind !== 'appendReply'
    net.elect(A)
    assert.equal(net.node(A).change(THREE), false)
    net.filter = () => true
    net.run(1000)
    assert.deepEqual(net.node(A).raft!.configuration, { voters: [A, B], outgoing: [], learners: [] })
  })
})

describe('published scenarios: reads', () => {
  it('on leader and followers see what was written before (ReadOnlyOptionSafe)', () => {
    const net = ledByA(THREE)
    for (const id of [A, B, C, A, B, C]) {
      for (let i = 0; i < 10; i++) net.node(A).propose('x')
      net.run(1)
      const before = net.node(id).readsDone
      assert.ok(net.node(id).read())
      net.run(200)
      assert.equal(net.node(id).readsDone, before + 1)
    }
  })

  it('a new leader answers when it has committed in its own term, and not before (ReadOnlyForNewLeader)', () => {
    const net = ledByA(THREE)
    net.node(A).propose('x')
    net.run(100)
    net.filter = message => !(message.kind === 'append' && message.entries.length > 0)
    net.elect(B)
    net.node(B).read()
    net.run(500)
    assert.equal(net.node(B).readsDone, 0)
    net.filter = () => true
    net.run(500)
    assert.equal(net.node(B).readsDone, 1)
  })
})
