from django.db import migrations

# In the database, so that no mistake in the app, no shell and no panel changes an event. The owner of the tables can
# take the triggers away: that is what the chain shows.
GUARD = """
CREATE FUNCTION ml_models_audit_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- a place in the chain is given once, and nothing else changes
        IF OLD.sequence IS NULL AND NEW.sequence IS NOT NULL
            AND (to_jsonb(NEW) - '{sequence,digest,key_id}'::text[])
              = (to_jsonb(OLD) - '{sequence,digest,key_id}'::text[]) THEN
            RETURN NEW;
        END IF;
    ELSIF EXISTS (SELECT 1 FROM ml_models_auditcheckpoint WHERE sequence >= OLD.sequence) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit events are append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE ON ml_models_auditevent
    FOR EACH ROW EXECUTE FUNCTION ml_models_audit_event_guard();

CREATE FUNCTION ml_models_audit_checkpoint_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit checkpoints are append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_checkpoint_append_only BEFORE UPDATE OR DELETE ON ml_models_auditcheckpoint
    FOR EACH ROW EXECUTE FUNCTION ml_models_audit_checkpoint_guard();
"""

OPEN = """
DROP TRIGGER audit_event_append_only ON ml_models_auditevent;
DROP TRIGGER audit_checkpoint_append_only ON ml_models_auditcheckpoint;
DROP FUNCTION ml_models_audit_event_guard();
DROP FUNCTION ml_models_audit_checkpoint_guard();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0020_audit'),
    ]

    operations = [
        migrations.RunSQL(GUARD, OPEN),
    ]
