import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.StrictErrorHandler;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * Reads resources in XML and in JSON, and says which pairs are not the same.
 *
 * <p>Argument: a folder with NAME.xml beside NAME.json. Exit code 0: all pairs are the same; 1: some
 * are not, or cannot be read; 2: usage.
 */
public final class CompareXml {
  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 1) {
      System.err.println("usage: CompareXml FOLDER");
      System.exit(2);
    }
    FhirContext context = FhirContext.forR4();
    context.setParserErrorHandler(new StrictErrorHandler());
    List<Path> files;
    try (Stream<Path> found = Files.list(Path.of(arguments[0]))) {
      files = found.filter(path -> path.toString().endsWith(".xml")).sorted().toList();
    }
    int different = 0;
    for (Path xml : files) {
      Path json = Path.of(xml.toString().replaceAll("\\.xml$", ".json"));
      try {
        String fromXml = written(context, context.newXmlParser().parseResource(Files.readString(xml)));
        String fromJson = written(context, context.newJsonParser().parseResource(Files.readString(json)));
        if (!fromXml.equals(fromJson)) {
          different++;
          System.out.println(xml + ": not the same as " + json);
        }
      } catch (RuntimeException error) {
        different++;
        System.out.println(xml + ": " + error.getMessage());
      }
    }
    System.out.println(files.size() + " pairs, " + different + " different");
    System.exit(different == 0 && !files.isEmpty() ? 0 : 1);
  }

  private static String written(FhirContext context, org.hl7.fhir.instance.model.api.IBaseResource resource) {
    return context.newJsonParser().encodeResourceToString(resource);
  }
}
