-- A million decisions of a cluster with 200 namespaces and 10,000 workloads, one every three seconds. Written by SQL
-- alone: the gate would take as long for it as for any million decisions.

-- The bits of each facet, as src/audit/facet/signature.rs has them.
CREATE TEMP TABLE bits (facet TEXT NOT NULL PRIMARY KEY, bits INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO bits
WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < 99999),
facets (facet) AS (
    VALUES ('decision=allow'), ('decision=warn'), ('decision=deny'), ('rule=imageAge'), ('policy=production'),
        ('kind=CronJob'), ('kind=StatefulSet'), ('kind=Job'), ('kind=Deployment')
    UNION ALL SELECT 'user=system:serviceaccount:ci:deployer-' || number FROM numbers WHERE number < 50
    UNION ALL SELECT 'policy=team-' || number FROM numbers WHERE number < 20
    UNION ALL SELECT 'namespace=team-' || number FROM numbers WHERE number < 200
    UNION ALL SELECT 'name=app-' || number FROM numbers WHERE number < 1000
    UNION ALL SELECT printf('repository=registry.example/team-%d/app-%d', number % 200, number) FROM numbers WHERE number < 1000
    UNION ALL SELECT 'service=service-' || number FROM numbers WHERE number < 2000
    UNION ALL SELECT 'exception=fix-' || number FROM numbers WHERE number < 1000
    UNION ALL SELECT printf('digest=sha256:%064x', number) FROM numbers
),
hashed (facet, read, hash) AS (
    SELECT facet, 0, 0 FROM facets
    UNION ALL
    SELECT facet, read + 1, (hash * 16777619 + unicode(substr(facet, read + 1, 1))) & 0xffffffff
    FROM hashed WHERE read < length(facet)
)
SELECT facet, CASE facet WHEN 'decision=allow' THEN 1 << 61 WHEN 'decision=warn' THEN 1 << 62 WHEN 'decision=deny' THEN 1 << 63
    ELSE (1 << hash % 61) | (1 << hash / 61 % 61) | (1 << hash / 3721 % 61) END
FROM hashed WHERE read = length(facet);

CREATE TEMP TABLE workloads (workload INTEGER NOT NULL PRIMARY KEY, bits INTEGER NOT NULL);
INSERT INTO workloads
WITH RECURSIVE numbers (workload) AS (SELECT 0 UNION ALL SELECT workload + 1 FROM numbers WHERE workload < 9999)
SELECT workload, (SELECT bits FROM bits WHERE facet = 'namespace=team-' || (workload % 200))
    | (SELECT bits FROM bits WHERE facet = 'kind=' ||
        CASE workload % 5 WHEN 0 THEN 'CronJob' WHEN 1 THEN 'StatefulSet' WHEN 2 THEN 'Job' ELSE 'Deployment' END)
    | (SELECT bits FROM bits WHERE facet = 'name=app-' || (workload % 1000))
    | (SELECT bits FROM bits WHERE facet = 'user=system:serviceaccount:ci:deployer-' || (workload % 50))
    | (SELECT bits FROM bits WHERE facet = 'policy=production')
    | (SELECT bits FROM bits WHERE facet = 'policy=team-' || (workload % 20))
    | (SELECT bits FROM bits WHERE facet = 'service=service-' || (workload % 2000))
    | (SELECT bits FROM bits WHERE facet = printf('repository=registry.example/team-%d/app-%d', workload % 200, workload % 1000))
FROM numbers;

INSERT INTO decisions (writer_id, seq, decision_id, timestamp, decision, namespace, kind, name, operation, username,
    rules, images, repeat_of, prev_hash, facets, hash, line, signature)
WITH RECURSIVE numbers (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < 999999),
made AS (SELECT number, number * 7919 % 10000 AS workload FROM numbers),
named AS (
    SELECT number, workload,
        printf('019a0000-0000-7000-8000-%012x', number) AS id,
        'team-' || (workload % 200) AS namespace,
        'app-' || (workload % 1000) AS name,
        CASE workload % 5 WHEN 0 THEN 'CronJob' WHEN 1 THEN 'StatefulSet' WHEN 2 THEN 'Job' ELSE 'Deployment' END AS kind,
        CASE number % 10 WHEN 0 THEN 'deny' WHEN 1 THEN 'warn' ELSE 'allow' END AS decision,
        'system:serviceaccount:ci:deployer-' || (workload % 50) AS username,
        printf('registry.example/team-%d/app-%d', workload % 200, workload % 1000) AS repository,
        printf('sha256:%064x', workload * 10 + number / 10000 % 10) AS digest
    FROM made
)
SELECT '01a1ee56-5e00-7fd1-899b-ea8a922a04ed', number + 1, id,
    strftime('%Y-%m-%dT%H:%M:%f', 1795000000 + number * 3, 'unixepoch') || '000Z', decision, namespace, kind, name,
    'UPDATE', username, iif(decision = 'allow', '', 'imageAge'), repository || ':' || number || ' ' || digest, NULL,
    hex(zeroblob(32)),
    json_array('namespace=' || namespace, 'kind=' || kind, 'name=' || name, 'user=' || username,
        'decision=' || decision, iif(decision = 'allow', 'policy=production', 'rule=imageAge'), 'policy=production',
        'policy=team-' || (workload % 20), 'service=service-' || (workload % 2000), 'repository=' || repository,
        'digest=' || digest, iif(number % 1000 = 0, 'exception=fix-' || (number / 1000), 'policy=production')),
    hex(zeroblob(32)), json_object('decision_id', id, 'padding', hex(zeroblob(600))),
    (SELECT bits FROM workloads WHERE workloads.workload = named.workload)
        | (SELECT bits FROM bits WHERE facet = 'decision=' || decision)
        | (SELECT bits FROM bits WHERE facet = 'digest=' || digest)
        | iif(decision = 'allow', 0, (SELECT bits FROM bits WHERE facet = 'rule=imageAge'))
        | iif(number % 1000 = 0, (SELECT bits FROM bits WHERE facet = 'exception=fix-' || (number / 1000)), 0)
FROM named;
